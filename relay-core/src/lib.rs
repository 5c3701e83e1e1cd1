//! The conversation machine, its vocabulary, and the store contract.
pub mod id;
pub mod machine;
pub mod protocol;
pub mod settings;
pub mod signs;
pub mod store;
#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod trace;
pub mod turn;
