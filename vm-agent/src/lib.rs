//! The process on a person's VM: it takes commands from the relay, lets a coding agent work on a git repository, and
//! reports what becomes of each run.
//!
//! Start reading at [`server`] (what is started), then [`runs`] (the life of a run), then [`driver`] (who works) and
//! [`supervise`] (why nothing of a run outlives it). The wire types live in `relay_core::protocol`.

pub mod clock;
pub mod config;
pub mod desk;
pub mod driver;
pub mod fence;
pub mod files;
pub mod git;
pub mod github;
pub mod images;
pub mod journal;
pub mod metrics;
pub mod publish;
pub mod refusal;
pub mod render;
pub mod report;
pub mod repositories;
pub mod requests;
pub mod reviews;
pub mod routes;
pub mod runs;
pub mod server;
pub mod supervise;
pub mod text;
pub mod tools;
pub mod uploads;
pub mod volume;
pub mod waiting;
