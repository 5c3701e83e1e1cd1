//! Makes guessing the token slow, for all relays together, without keeping out whoever knows it.
//!
//! Every wrong token is a turn in the line of its caller. Whoever has taken a few waits for the answer, longer each time; then
//! nothing more is looked at until some of the turns have passed. That line is the caller's alone, so it keeps out nobody else.
//! All wrong tokens stand in one more line, from wherever they come, which delays their answers; a right one does not wait
//! there. Lines are few, however many callers there are.

use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use relay_core::store::{Reserve, Reserved};
use secrecy::ExposeSecret;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::session::Denied;
use crate::app::{App, in_time};
use crate::clock;

/// What a wrong token costs its caller.
const INTERVAL: Duration = Duration::from_secs(2);
/// So much of it may be owed before anything is felt: people make mistakes.
const FREE: Duration = Duration::from_secs(10);
/// An answer is held back for so long at most; whoever owes more gets none.
const DELAY_MAX: Duration = Duration::from_secs(6);
/// No caller owes more.
const OWED_MAX: Duration = Duration::from_secs(600);
/// Of all callers together so many wrong tokens are answered, and no answer waits longer.
const ALL_INTERVAL: Duration = Duration::from_millis(100);
const ALL_DELAY_MAX: Duration = Duration::from_secs(2);
/// The line of all.
const ALL: &str = "guesses";
/// Whether `given` is the token.
pub(super) async fn weigh(app: &App, caller: Option<IpAddr>, given: &str) -> Result<(), Denied> {
    let Some(token) = &app.config.admin_token else { return Err(Denied::NotFound) };
    clock::ensure(&*app.store).await?;
    let line = line(app, caller);
    let tolerated = FREE + DELAY_MAX;
    if let Reserved::Later(owed) = reserve(app, &line, 0, INTERVAL, tolerated).await? {
        tracing::warn!(caller = line, "a token for the control UI is not looked at: too many were wrong");
        return Err(Denied::TooMany(owed - tolerated));
    }
    if token.expose_secret().as_bytes().ct_eq(given.as_bytes()).into() {
        return Ok(());
    }
    tracing::warn!(caller = line, "a wrong token for the control UI");
    let (Reserved::In(owed) | Reserved::Later(owed)) = reserve(app, &line, 1, INTERVAL, OWED_MAX).await?;
    match reserve(app, ALL, 1, ALL_INTERVAL, ALL_DELAY_MAX).await? {
        Reserved::Later(wait) => Err(Denied::TooMany(wait)),
        Reserved::In(wait) => {
            let delay = owed.saturating_sub(FREE).min(DELAY_MAX) + wait;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = app.stopping.cancelled() => {}
            }
            Err(Denied::Wrong)
        }
    }
}

async fn reserve(
    app: &App,
    line: &str,
    count: u32,
    interval: Duration,
    wait_max: Duration,
) -> Result<Reserved, Denied> {
    let reserve = Reserve { line: line.to_owned(), count, interval, wait_max, now: clock::now() };
    Ok(in_time(app.store.reserve(reserve)).await?)
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
