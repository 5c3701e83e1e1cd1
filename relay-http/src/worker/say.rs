//! Hands one chat message over: keeps its page, looks whether it was sent already if that is in doubt, waits its turn.

use std::time::Duration;

use relay_core::machine::{Outcome, Say};
use relay_core::store::{Blob, Reserve, Reserved};
use relay_core::turn::Performance;

use crate::app::{App, Kept};
use crate::channels::{Channel, Line, Outgoing};
use crate::clock;
use crate::metrics::Chat;
use crate::routes::pages;

/// A page is kept this long.
const PAGE_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// A turn in the line is waited for this long; for one further away the conversation is put off.
const TURN_WAIT_MAX: Duration = Duration::from_millis(500);

pub(super) async fn send(app: &App, performance: &Performance, say: &Say) -> Outcome {
    let refused = |message: &str| Outcome::Refused { reason: None, message: message.to_owned() };
    let (conversation, effect) = (&performance.conversation, performance.queued.seq);
    let Some(to) = &conversation.address else {
        return refused("the conversation has no address");
    };
    let Some(channel) = app.channel(to.channel) else {
        return refused("the channel is not configured on this relay");
    };
    let picture = say.picture.as_ref().map(|blob| app.picture_url(blob));
    let page = match &say.page {
        None => None,
        Some(text) => {
            let id = app.blob_id(Kept::Page { conversation: &conversation.id, effect });
            let blob = Blob { content_type: pages::CONTENT_TYPE.to_owned(), bytes: text.clone().into_bytes() };
            if app.store.put_blob(&id, blob, clock::now() + PAGE_KEEP).await.is_err() {
                // Nothing was sent, and nothing is in doubt.
                return Outcome::busy(None);
            }
            Some(app.page_url(&id))
        }
    };
    let review = say.review.as_ref().map(|link| app.review_url(&link.run, &link.tree, link.expires_at));
    let follow = say.follow.as_ref().map(|link| app.run_url(&link.run, link.expires_at));
    let message = Outgoing { to, conversation: &conversation.id, effect, say, picture, page, review, follow };
    let in_doubt = conversation.delivery.doubts(effect);
    if in_doubt {
        match channel.find(&message, &conversation.delivery, clock::now()).await {
            Ok(None) => {}
            Ok(Some(message)) => {
                app.metrics.chat(to.channel, Chat::Found);
                return Outcome::Sent { message };
            }
            Err(outcome) => return outcome,
        }
    }
    if let Some(delayed) = turn(app, channel).await {
        return delayed;
    }
    if in_doubt {
        app.metrics.chat(to.channel, Chat::Resent);
    }
    let outcome = channel.send(message).await;
    if matches!(outcome, Outcome::Done | Outcome::Sent { .. }) {
        app.metrics.chat(to.channel, Chat::Sent);
        if let Some(asked_at) = performance.queued.cause.as_ref().and_then(|cause| cause.asked_at) {
            app.metrics.answered_person(to.channel, clock::now().since(asked_at));
        }
    } else {
        app.metrics.chat(to.channel, Chat::Failed);
    }
    outcome
}

/// Wait until a message may go; an outcome when that is not soon.
async fn turn(app: &App, channel: &dyn Channel) -> Option<Outcome> {
    let line = channel.line()?;
    // Of many that find no turn left, one asks for all.
    let alone = app.lines.asking().await;
    let wait = match app.lines.next(&line) {
        Some(wait) => wait,
        None => reserve(app, &line).await,
    };
    drop(alone);
    if wait > TURN_WAIT_MAX {
        return Some(Outcome::Delayed { pause_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) });
    }
    tokio::time::sleep(wait).await;
    None
}

async fn reserve(app: &App, line: &Line) -> Duration {
    let count = app.lines.block(line);
    let (name, interval) = (line.name.clone(), line.interval);
    let reserve = Reserve { line: name, count, interval, wait_max: TURN_WAIT_MAX, now: clock::now() };
    match app.store.reserve(reserve).await {
        Ok(Reserved::In(wait)) => {
            app.lines.reserved(line, wait);
            wait
        }
        Ok(Reserved::Later(wait)) => wait.max(TURN_WAIT_MAX + line.interval),
        // The provider has a line of its own; a store that is away is no reason to keep silent.
        Err(_) => Duration::ZERO,
    }
}
