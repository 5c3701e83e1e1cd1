//! What people see in a browser: pages rendered here, readable without a script, with one stylesheet and small modules beside
//! them. What they look like is in `layout` and `static/web.css`, what they load in `assets`, the conversation
//! in `console`, an invitation to it in `invited`, the files of a worktree in `worktree`, what happens in a run in `run`, what
//! operators see in `admin`.

pub mod admin;
pub mod assets;
mod chat;
pub mod console;
mod instant;
pub mod invited;
pub mod layout;
pub mod run;
pub mod sign_in;
pub mod worktree;
