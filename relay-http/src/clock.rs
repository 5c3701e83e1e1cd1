//! The one place where the relay asks for the time and for chance.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt;
use relay_core::id::{NodeId, Nonce};
use relay_core::time::Timestamp;

/// The time.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A name for one call to the store, never used twice.
pub fn nonce() -> Nonce {
    Nonce::parse(random_hex()).expect("hex within the bound")
}

/// A name for this process.
pub fn node() -> NodeId {
    NodeId::parse(random_hex()).expect("hex within the bound")
}

fn random_hex() -> String {
    hex::encode(rand::rng().random::<[u8; 16]>())
}
