//! What people see in a browser: pages rendered here, readable without a script, with one stylesheet and small modules beside
//! them. What they look like is in `layout` and `static/web.css`, what they load in `assets`, the conversation
//! in `console`, an invitation to it in `invited`, the files of a worktree in `worktree`, what operators see in `admin`.

pub mod admin;
pub mod assets;
pub mod console;
pub mod invited;
pub mod layout;
pub mod sign_in;
pub mod worktree;
