//! Which trace something belongs to, as it is carried through the store and over the wire: W3C's `traceparent`. To the machine
//! it is a word like any other, kept and passed on.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The header, and the field, that carries it.
pub const HEADER: &str = "traceparent";

/// A `traceparent` of version 00: trace, parent span, flags.
///
/// What is stored is taken as it is: no state may become unreadable for what nothing is decided by. That a trace is not kept is
/// stored with everything that goes on in it, so it is stored in a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceParent(Cow<'static, str>);

/// The text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NoTraceParent;

/// The flag that says that a trace is kept.
const KEPT: u8 = 1;

/// Any trace that is not kept, as it is stored, and as it is written for others: those need no names that tell them apart.
const NOT_KEPT: &str = "-";
const NOT_KEPT_WRITTEN: &str = "00-00000000000000000000000000000001-0000000000000001-00";

impl TraceParent {
    /// Read one. A version that is not known yet is not passed on.
    pub fn parse(text: &str) -> Result<Self, NoTraceParent> {
        let is_hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let parts: Vec<&str> = text.split('-').collect();
        match parts[..] {
            ["00", trace, span, flags] if is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2) => {
                let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
                let read =
                    || if text == NOT_KEPT_WRITTEN { Self::not_kept() } else { Self(Cow::Owned(text.to_owned())) };
                if is_zero(trace) || is_zero(span) { Err(NoTraceParent) } else { Ok(read()) }
            }
            _ => Err(NoTraceParent),
        }
    }

    /// Of a trace that is kept, and a span in it; `None` when either is none.
    pub fn kept(trace: u128, span: u64) -> Option<Self> {
        (trace != 0 && span != 0).then(|| Self(Cow::Owned(format!("00-{trace:032x}-{span:016x}-{KEPT:02x}"))))
    }

    /// Of a trace of which nothing is kept.
    pub const fn not_kept() -> Self {
        Self(Cow::Borrowed(NOT_KEPT))
    }

    /// Whether whoever takes part in the trace is to keep it.
    pub fn is_kept(&self) -> bool {
        let flags = self.0.get(53..55).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & KEPT != 0)
    }

    /// The trace alone.
    pub fn trace(&self) -> &str {
        self.0.get(3..35).unwrap_or_default()
    }

    /// As it is written for others.
    pub fn as_str(&self) -> &str {
        if self.0 == NOT_KEPT { NOT_KEPT_WRITTEN } else { &self.0 }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_traceparent_is_not_passed_on() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed = TraceParent::parse(good).unwrap();
        assert!(parsed.as_str() == good && parsed.is_kept());
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(TraceParent::parse(bad), Err(NoTraceParent), "{bad:?}");
        }
    }

    #[test]
    fn one_that_is_not_kept_is_passed_on_as_such() {
        let not_kept = TraceParent::not_kept();
        assert_eq!(TraceParent::parse(not_kept.as_str()), Ok(not_kept.clone()));
        assert!(!not_kept.is_kept());
        let stored = serde_json::to_string(&not_kept).unwrap();
        assert_eq!(serde_json::from_str::<TraceParent>(&stored).unwrap(), not_kept);
    }
}
