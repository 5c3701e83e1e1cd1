//! What the relay serves to browsers and tools, besides the console.

mod admin;
mod console;
mod keyboard;
pub(crate) mod page;
mod review;
mod stream;
mod worktree;
