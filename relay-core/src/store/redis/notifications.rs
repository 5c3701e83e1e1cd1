//! Keyspace notifications: alarms ring only on a server that tells of expired keys. Where that can't be turned on, everything
//! works as well, a little later.

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ConfigInterface;
use fred::types::Value;

const SETTING: &str = "notify-keyspace-events";
/// `E`: channels named by event; `x`: expired keys. `A` stands for `x` and others.
const NEEDED: &str = "Ex";

/// Whether the server tells of expired keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notifications {
    On,
    Off,
    /// It does not say.
    Unknown,
}

impl Notifications {
    /// An error when the server did not answer at all.
    pub(super) async fn read(client: &Client) -> Result<Self, Error> {
        Ok(match flags(client).await? {
            Some(flags) if tells_of_expired_keys(&flags) => Self::On,
            Some(_) => Self::Off,
            None => Self::Unknown,
        })
    }

    /// Turn them on, beside whatever else is on, where the server lets us.
    pub(super) async fn turn_on(client: &Client) -> Result<Self, Error> {
        if let Some(before) = flags(client).await?
            && !tells_of_expired_keys(&before)
        {
            // A server that refuses shows it below.
            let _: Result<(), _> = client.config_set(SETTING, format!("{before}{NEEDED}")).await;
        }
        Self::read(client).await
    }

    /// What this means, if it is not as it should be, and what to do.
    pub(super) fn concern(self) -> Option<String> {
        let trouble = match self {
            Self::On => return None,
            Self::Off => "keyspace notifications are off",
            Self::Unknown => "the server does not say whether keyspace notifications are on",
        };
        Some(format!(
            "{trouble}: what a relay that died was about to do is found by the regular sweep instead of at once. \
             Set {SETTING} to {NEEDED} (`CONFIG SET {SETTING} {NEEDED}`, or in the provider's console)"
        ))
    }
}

fn tells_of_expired_keys(flags: &str) -> bool {
    flags.contains('E') && flags.contains(['x', 'A'])
}

/// Nothing when the server refuses to say.
async fn flags(client: &Client) -> Result<Option<String>, Error> {
    let answer: Value = match client.config_get(SETTING).await {
        Ok(answer) => answer,
        Err(error) if matches!(error.kind(), ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled) => {
            return Err(error);
        }
        Err(_) => return Ok(None),
    };
    let flags = match answer {
        Value::Map(map) => map.inner().into_values().next(),
        Value::Array(pair) => pair.into_iter().nth(1),
        _ => None,
    };
    Ok(flags.and_then(Value::into_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_read_as_redis_documents_them() {
        for (flags, on) in [("Ex", true), ("xE", true), ("AKE", true), ("Kx", false), ("E$", false), ("", false)] {
            assert_eq!(tells_of_expired_keys(flags), on, "{flags:?}");
        }
    }
}
