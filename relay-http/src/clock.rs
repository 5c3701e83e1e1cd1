//! The one place where the relay asks for the time and for chance.
//!
//! Relays that share a store go by the store's clock, so that they agree on leases and deadlines however their own clocks
//! are set: [`follow`] measures how far off this machine's is, [`now`] adds that. Until the first measurement [`now`] is
//! the machine's own time, which nothing in a shared store may be decided by: see [`ensure`].

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::RngExt;
use relay_core::id::{NodeId, Nonce};
use relay_core::store::{Store, StoreError};
use relay_core::time::Timestamp;

/// What is to be added to this machine's time.
static OFFSET_MS: AtomicI64 = AtomicI64::new(UNKNOWN);
const UNKNOWN: i64 = i64::MIN;
/// A measurement whose round trip took longer says too little: the process may have stood still in between.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
const MEASUREMENTS_MAX: usize = 3;
/// A clock that is off by more is one to mend.
const OFFSET_TOLERATED: Duration = Duration::from_secs(5);

/// The time.
pub fn now() -> Timestamp {
    shifted(machine(), OFFSET_MS.load(Ordering::Relaxed))
}

/// Measure how far this machine's clock is from the store's, which [`now`] goes by from then on. An error when the store
/// does not answer, or not quickly enough to tell the time by.
pub async fn follow(store: &dyn Store) -> Result<(), StoreError> {
    let offset = measure(store).await?;
    let before = OFFSET_MS.swap(offset, Ordering::Relaxed);
    if is_off(offset) && (before == UNKNOWN || !is_off(before)) {
        tracing::warn!(
            offset_ms = offset,
            "this machine's clock is not the store's, which is used instead; set it right (is NTP running?)"
        );
    }
    Ok(())
}

/// Whether the store's clock was ever measured.
pub fn is_known() -> bool {
    OFFSET_MS.load(Ordering::Relaxed) != UNKNOWN
}

/// [`follow`], if that was never done.
pub async fn ensure(store: &dyn Store) -> Result<(), StoreError> {
    if is_known() { Ok(()) } else { follow(store).await }
}

/// What is to be added to this machine's time to get the store's, in milliseconds.
pub async fn measure(store: &dyn Store) -> Result<i64, StoreError> {
    for _ in 0..MEASUREMENTS_MAX {
        let (asked, local) = (Instant::now(), machine());
        let theirs = store.time(local).await?;
        if let Some(offset) = offset(local, theirs, asked.elapsed()) {
            return Ok(offset);
        }
    }
    Err(StoreError::Unavailable("its answers take too long to tell the time by".into()))
}

/// Whether a clock that is off by so much is one to mend.
pub fn is_off(offset_ms: i64) -> bool {
    u128::from(offset_ms.unsigned_abs()) > OFFSET_TOLERATED.as_millis()
}

/// The store said `theirs` some time within `took` after `local`.
fn offset(local: Timestamp, theirs: Timestamp, took: Duration) -> Option<i64> {
    let between = local + took / 2;
    (took <= ROUND_TRIP_MAX).then(|| theirs.as_millis().wrapping_sub(between.as_millis()).cast_signed())
}

fn shifted(time: Timestamp, offset_ms: i64) -> Timestamp {
    match offset_ms {
        UNKNOWN => time,
        offset_ms => Timestamp(time.as_millis().saturating_add_signed(offset_ms)),
    }
}

/// This machine's own time: for signatures, which the other side checks by its own.
pub fn machine() -> Timestamp {
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

/// A password that nobody can guess.
pub fn password() -> String {
    random_hex() + &random_hex()
}

fn random_hex() -> String {
    hex::encode(rand::rng().random::<[u8; 16]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_round_trip_is_taken_for_the_way_there() {
        let took = Duration::from_millis(100);
        assert_eq!(offset(Timestamp(1_000), Timestamp(61_050), took), Some(60_000));
        assert_eq!(offset(Timestamp(61_000), Timestamp(1_050), took), Some(-60_000));
        assert_eq!(offset(Timestamp(1_000), Timestamp(1_000), Duration::from_micros(300)), Some(0));
    }

    #[test]
    fn a_measurement_during_which_the_process_stood_still_is_dropped() {
        assert_eq!(offset(Timestamp(1_000), Timestamp(1_000), Duration::from_secs(15)), None);
    }

    #[test]
    fn time_is_shifted_by_what_was_measured() {
        assert_eq!(shifted(Timestamp(1_000), UNKNOWN), Timestamp(1_000));
        assert_eq!(shifted(Timestamp(1_000), -400), Timestamp(600));
        assert_eq!(shifted(Timestamp(1_000), 60_000), Timestamp(61_000));
        assert!(is_off(-5_001) && is_off(5_001) && !is_off(5_000));
    }
}
