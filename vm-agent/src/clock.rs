//! The one place that asks what time it is on the wall.

use std::time::SystemTime;

use relay_core::time::Timestamp;

/// Now, as the wire and the journal write it.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
