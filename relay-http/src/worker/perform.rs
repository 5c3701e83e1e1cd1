//! Carries one effect out, within its time. All effects are idempotent at their receiver or, in the chat, at least once.

use std::time::{Duration, Instant};

use relay_core::id::RunId;
use relay_core::machine::{Effect, Outcome, Say};
use relay_core::protocol::{ApproveRequest, CancelRequest, Command, CommandRequest};
use relay_core::store::Blob;
use relay_core::turn::Performance;

use crate::app::App;
use crate::channels::Outgoing;
use crate::clock;
use crate::vm::{CallError, no_answer};

/// What came of an effect.
pub(super) enum Performed {
    /// For the machine.
    Outcome(Outcome),
    /// The VM has seen a larger fence: nothing this relay does for the conversation counts any more.
    Fenced,
}

/// A picture is kept this long: Twilio fetches within a minute, a person may scroll back for a day.
const PICTURE_KEEP: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn perform(app: &App, performance: &Performance) -> Performed {
    let timeout = performance.queued.effect.timeout(performance.attempt);
    let started = Instant::now();
    let outcome = match tokio::time::timeout(timeout, carry_out(app, performance)).await {
        Ok(Ok(Outcome::NoAnswer { .. })) | Err(_) => Some(no_answer(started.elapsed())),
        Ok(Ok(outcome)) => Some(outcome),
        Ok(Err(error)) => error.outcome(started.elapsed()),
    };
    log(performance, outcome.as_ref(), started.elapsed());
    outcome.map_or(Performed::Fenced, Performed::Outcome)
}

async fn carry_out(app: &App, performance: &Performance) -> Result<Outcome, CallError> {
    let conversation = performance.conversation.id.clone();
    let fence = performance.fence;
    match performance.queued.effect.clone() {
        Effect::Say(say) => Ok(send(app, performance, &say).await),
        Effect::StartRun { run, task } => {
            app.vm.start(&CommandRequest { conversation, fence, command: Command::Run { run, task } }).await
        }
        Effect::Ask { question } => {
            app.vm.ask(&CommandRequest { conversation, fence, command: Command::Ask { question } }).await
        }
        Effect::Decide { run, tree, decision } => {
            app.vm.decide(&ApproveRequest { conversation, fence, run, tree, decision }).await
        }
        Effect::CancelRun { run } => app.vm.cancel(&CancelRequest { conversation, fence, run }).await,
        Effect::Probe { run } => app.vm.probe(&run).await,
        Effect::KeepImage { run, name, .. } => keep_image(app, &run, &name).await,
    }
}

async fn send(app: &App, performance: &Performance, say: &Say) -> Outcome {
    let refused = |message: &str| Outcome::Refused { reason: None, message: message.to_owned() };
    let Some(to) = &performance.conversation.address else {
        return refused("the conversation has no address");
    };
    let Some(channel) = app.channel(to.channel) else {
        return refused("the channel is not configured on this relay");
    };
    let picture = say.picture.as_ref().map(|blob| app.picture_url(blob));
    let conversation = &performance.conversation.id;
    channel.send(Outgoing { to, conversation, effect: performance.queued.seq, say, picture }).await
}

async fn keep_image(app: &App, run: &RunId, name: &str) -> Result<Outcome, CallError> {
    let (content_type, bytes) = app.vm.image(name).await?;
    let id = app.blob_id(run, name);
    let blob = Blob { content_type: content_type.to_owned(), bytes: bytes.to_vec() };
    match app.store.put_blob(&id, blob, clock::now() + PICTURE_KEEP).await {
        Ok(()) => Ok(Outcome::ImageKept { blob: id }),
        Err(_) => Err(CallError::NoAnswer),
    }
}

/// What kind of effect it is, for logs and operators: never what it says.
pub fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::Say(_) => "say",
        Effect::StartRun { .. } => "start_run",
        Effect::Decide { .. } => "decide",
        Effect::CancelRun { .. } => "cancel_run",
        Effect::Ask { .. } => "ask",
        Effect::Probe { .. } => "probe",
        Effect::KeepImage { .. } => "keep_image",
    }
}

/// One line per try.
fn log(performance: &Performance, outcome: Option<&Outcome>, took: Duration) {
    let effect = kind(&performance.queued.effect);
    let outcome = match outcome {
        None => "fenced",
        Some(Outcome::NoAnswer { .. }) => "no_answer",
        Some(Outcome::Busy { .. }) => "busy",
        Some(Outcome::Refused { .. }) => "refused",
        Some(_) => "done",
    };
    let (conversation, seq, attempt) = (&performance.conversation.id, performance.queued.seq.0, performance.attempt);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(%conversation, effect, seq, attempt, outcome, took_ms, "effect");
}
