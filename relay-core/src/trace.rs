//! Which trace something belongs to, as it is carried through the store and over the wire: W3C's `traceparent`. To the machine
//! it is a word like any other, kept and passed on.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The header, and the field, that carries it.
pub const HEADER: &str = "traceparent";

/// A `traceparent` of version 00: trace, parent span, flags.
///
/// That a trace is not kept is stored with everything that goes on in it, so it is stored in a word. And no state may become
/// unreadable for what nothing is decided by: whatever else is stored is taken as a trace that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// The text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NoTraceParent;

/// The flag that says that a trace is kept.
const KEPT: u8 = 1;
/// How a trace that is not kept is stored.
const NOT_KEPT: &str = "-";

impl TraceParent {
    /// Any trace of which nothing is kept: those need no names that tell them apart.
    pub const NOT_KEPT: Self = Self { trace: 1_u128.to_be_bytes(), span: 1_u64.to_be_bytes(), flags: 0 };

    /// Read one. A version that is not known yet is not passed on.
    pub fn parse(text: &str) -> Result<Self, NoTraceParent> {
        fn read<const N: usize>(part: &str) -> Result<[u8; N], NoTraceParent> {
            let mut bytes = [0; N];
            let is_lower = !part.bytes().any(|byte| byte.is_ascii_uppercase());
            if is_lower {
                hex::decode_to_slice(part, &mut bytes).map(|()| bytes).map_err(|_| NoTraceParent)
            } else {
                Err(NoTraceParent)
            }
        }
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(NoTraceParent);
        let is_known = next()? == "00";
        let (trace, span, [flags]) = (read(next()?)?, read(next()?)?, read(next()?)?);
        if !is_known || parts.next().is_some() || trace == [0; 16] || span == [0; 8] {
            return Err(NoTraceParent);
        }
        Ok(if flags & KEPT == 0 { Self::NOT_KEPT } else { Self { trace, span, flags } })
    }

    /// Of a trace that is kept, and a span in it; `None` when either is none.
    pub fn kept(trace: [u8; 16], span: [u8; 8]) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags: KEPT })
    }

    /// Whether whoever takes part in the trace is to keep it.
    pub fn is_kept(&self) -> bool {
        self.flags & KEPT != 0
    }

    /// The trace alone.
    pub fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// The span alone.
    pub fn span(&self) -> [u8; 8] {
        self.span
    }
}

/// As it is written for others.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex::encode(self.trace), hex::encode(self.span), self.flags)
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_kept() { serializer.collect_str(self) } else { serializer.serialize_str(NOT_KEPT) }
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = TraceParent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a traceparent")
            }

            fn visit_str<E>(self, text: &str) -> Result<TraceParent, E> {
                Ok(TraceParent::parse(text).unwrap_or(TraceParent::NOT_KEPT))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_traceparent_is_not_passed_on() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed = TraceParent::parse(good).unwrap();
        assert!(parsed.to_string() == good && parsed.is_kept());
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
        let not_kept = TraceParent::NOT_KEPT;
        assert_eq!(TraceParent::parse(&not_kept.to_string()), Ok(not_kept));
        assert!(!not_kept.is_kept());
        let stored = serde_json::to_string(&not_kept).unwrap();
        assert_eq!(stored, r#""-""#);
        assert_eq!(serde_json::from_str::<TraceParent>(&stored).unwrap(), not_kept);
    }

    #[test]
    fn whatever_is_stored_is_read() {
        let kept = TraceParent::kept([7; 16], [9; 8]).unwrap();
        let stored = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<TraceParent>(&stored).unwrap(), kept);
        for strange in [r#""""#, r#""01-what-ever-comes""#, r#""\u0000""#] {
            assert_eq!(serde_json::from_str::<TraceParent>(strange).unwrap(), TraceParent::NOT_KEPT);
        }
    }
}
