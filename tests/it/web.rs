//! What the relay serves to browsers and tools, besides the console.

mod admin;
mod chat;
mod console;
mod guests;
mod keyboard;
mod no_script;
pub(crate) mod page;
mod review;
mod run_page;
mod stream;
mod worktree;
