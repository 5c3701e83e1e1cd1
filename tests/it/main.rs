//! System tests: real processes, really killed.

mod browser_loop;
mod common;
mod fakes;
mod kills;
mod signature;
