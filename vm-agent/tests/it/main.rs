//! The whole process from outside: a real `vm-agent`, a real git origin, a relay that only listens, or a real Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a failed test shows the log of its process")]

mod cgroups;
mod drawings;
mod isolation;
mod life;
mod published;
mod requests;
mod restart;
mod reviews;
mod sandbox;
mod secrets;
mod supervision;
mod support;
mod volume;
mod with_acp;
mod with_claude;
mod worktree;
