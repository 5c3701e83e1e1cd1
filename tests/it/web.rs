//! What people see in a browser, besides the console.

mod console;
mod keyboard;
mod review;
mod worktree;
