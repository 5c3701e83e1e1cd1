//! What the system tests stand on: real processes started and killed, stand-ins for the services that the product
//! talks to, and programs by others to compare with. Used by the tests in `it/` alone. Nothing here may depend on how
//! the relay or the VM agent is built inside: only on what they show on the wire, on disk and in the process table.

pub mod browser;
pub mod console;
pub mod fake_anthropic;
pub mod fake_github;
pub mod gate;
pub mod peers;
pub mod process;
pub mod server;
pub mod stack;
pub mod twilio;
pub mod wait;
