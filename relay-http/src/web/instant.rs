//! Instants, as text.

use relay_core::time::Timestamp;
use time::OffsetDateTime;

/// In UTC; nothing for one that no calendar has.
pub(super) fn utc(at: Timestamp) -> Option<OffsetDateTime> {
    let since = time::Duration::milliseconds(i64::try_from(at.as_millis()).unwrap_or(i64::MAX));
    OffsetDateTime::UNIX_EPOCH.checked_add(since)
}

/// To the second, as `2026-11-26T19:31:36Z` with `T` and `Z`.
pub(super) fn exact(at: Timestamp, between: char, zone: &str) -> String {
    utc(at).map_or_else(String::new, |at| {
        let (date, time) = (at.date(), at.time());
        format!(
            "{}-{:02}-{:02}{between}{:02}:{:02}:{:02}{zone}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    })
}
