//! What people see in a browser: pages rendered here, readable without a script, with one stylesheet and small modules beside
//! them. What they look like is in `layout` and `static/web.css`, what they load in `assets`, what operators see in `admin`,
//! the files of a worktree in `worktree`, invitations in `invited`.

pub mod admin;
pub mod assets;
pub mod invited;
pub mod layout;
pub mod worktree;
