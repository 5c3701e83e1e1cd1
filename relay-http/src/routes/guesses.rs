//! Makes guessing a token slow, that of the control UI and that of the console, for all relays together, without keeping out whoever knows it.
//!
//! Every wrong token is a turn in the line of its caller. Whoever has taken a few waits for the answer, longer each time; then
//! nothing more is looked at until some of the turns have passed. That line is the caller's alone, so it keeps out nobody else.
//! All wrong tokens stand in one more line, from wherever they come, which delays their answers; a right one does not wait
//! there. Lines are few, however many callers there are.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderName, StatusCode, header};
use hmac::{Hmac, KeyInit, Mac};
use relay_core::store::{Reserve, Reserved, StoreError};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::app::{App, in_time};
use crate::clock;

/// What a wrong token costs its caller.
const INTERVAL: Duration = Duration::from_secs(2);
/// So much of it may be owed before anything is felt: people make mistakes.
const FREE: Duration = Duration::from_secs(10);
/// An answer is held back for so long at most; whoever owes more gets none.
const DELAY_MAX: Duration = Duration::from_secs(6);
/// Of all callers together so many wrong tokens are answered, and no answer waits longer.
const ALL_INTERVAL: Duration = Duration::from_millis(100);
const ALL_DELAY_MAX: Duration = Duration::from_secs(2);
/// The line of all.
const ALL: &str = "guesses";

/// Why what was given opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is not the token.
    #[error("That is not the token.")]
    Wrong,
    /// Too many wrong ones came, and it takes so long until another is looked at.
    #[error("Too many wrong tokens. Try again in {} s.", seconds(.0))]
    TooMany(Duration),
}

impl Refused {
    /// What comes with the form that asks for the token again.
    pub fn answer(&self) -> (StatusCode, [(HeaderName, String); 1]) {
        match self {
            Self::Wrong => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer".to_owned())]),
            Self::TooMany(wait) => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds(wait).to_string())]),
        }
    }
}

fn seconds(wait: &Duration) -> u64 {
    wait.as_secs() + 1
}

/// Whether `given` is `token`.
///
/// One call of the store says whether that is told at all, and charges for a wrong one: of any number that come at once no more
/// are told than of as many that come one after the other. A right one stands in the same line and costs nothing.
pub async fn weigh(
    app: &App,
    caller: Option<IpAddr>,
    token: &SecretString,
    given: &str,
) -> Result<Result<(), Refused>, StoreError> {
    clock::ensure(&*app.store).await?;
    let (line, tolerated) = (line(app, caller), FREE + DELAY_MAX);
    let is_right: bool = token.expose_secret().as_bytes().ct_eq(given.as_bytes()).into();
    let owed = match reserve(app, &line, u32::from(!is_right), INTERVAL, tolerated).await? {
        Reserved::In(owed) => owed,
        Reserved::Later(owed) => {
            tracing::warn!(caller = line, "a token is not looked at: too many were wrong");
            return Ok(Err(Refused::TooMany(owed - tolerated)));
        }
    };
    if is_right {
        return Ok(Ok(()));
    }
    tracing::warn!(caller = line, "a wrong token");
    Ok(Err(match reserve(app, ALL, 1, ALL_INTERVAL, ALL_DELAY_MAX).await? {
        Reserved::Later(wait) => Refused::TooMany(wait),
        Reserved::In(wait) => {
            let delay = owed.saturating_sub(FREE).min(DELAY_MAX) + wait;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = app.stopping.cancelled() => {}
            }
            Refused::Wrong
        }
    }))
}

async fn reserve(
    app: &App,
    line: &str,
    count: u32,
    interval: Duration,
    wait_max: Duration,
) -> Result<Reserved, StoreError> {
    let reserve = Reserve { line: line.to_owned(), count, interval, wait_max, now: clock::now() };
    in_time(app.store.reserve(reserve)).await
}

/// A number that only says which callers are the same: no address is kept or logged.
fn line(app: &App, caller: Option<IpAddr>) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(app.config.relay_secret.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(b"caller\0");
    mac.update(caller.map(|ip| ip.to_string()).unwrap_or_default().as_bytes());
    let hash = mac.finalize().into_bytes();
    // Callers who are many share lines.
    format!("{ALL}:{}", u16::from_be_bytes([hash[0], hash[1]]))
}
