//! What the system tests stand on: real processes started and killed, stand-ins for the services that the product
//! talks to, and programs by others to compare with. Used by the tests in `it/` alone. Nothing here may depend on how
//! the relay or the VM agent is built inside: only on what they show on the wire, on disk and in the process table.

pub mod bench;
pub mod browser;
pub mod chaos;
pub mod console;
pub mod cut;
pub mod dashboards;
pub mod fake_anthropic;
pub mod fake_fly;
pub mod fake_flyctl;
pub mod fake_github;
pub mod fake_vm;
pub mod fleet;
pub mod gate;
pub mod haproxy;
pub mod images;
pub mod links;
pub mod metric_store;
pub mod onlooker;
pub mod otlp;
pub mod peers;
pub mod pictures;
pub mod process;
pub mod redis;
pub mod server;
pub mod stack;
pub mod twilio;
pub mod wait;
