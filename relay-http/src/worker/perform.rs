//! Carries one effect out, within its time. All effects are idempotent at their receiver or, in the chat, at least once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_core::id::{ConversationId, MessageId, RunId};
use relay_core::machine::{Attachment, Conversation, Effect, Event, Outcome, Queued};
use relay_core::protocol::{
    ApproveRequest, CancelRequest, Command, CommandRequest, File, RefusalReason, ReplyRequest, Task,
};
use relay_core::store::Blob;
use relay_core::telemetry::traces;
use relay_core::turn::Performance;
use tracing::Instrument;

use super::{review, say};
use crate::app::{App, Kept};
use crate::channels::media::{Media, MediaError};
use crate::clock;
use crate::directory::Asking;
use crate::identity;
use crate::vm::{CallError, VmClient};

/// What came of an effect.
pub(super) enum Performed {
    /// For the machine.
    Outcome(Outcome),
    /// The VM has seen a larger fence: nothing this relay does for the conversation counts any more.
    Fenced,
}

/// A picture is kept this long: Twilio fetches within a minute, a person may scroll back for a day.
const PICTURE_KEEP: Duration = Duration::from_secs(24 * 3600);
/// Later it shows nothing that is still true.
const TYPING_TIMEOUT: Duration = Duration::from_secs(5);
/// A file waits so long for its task to start.
const FILE_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// In the trace of what led to the effect: inside of the turn, where that is of the same.
pub(super) async fn perform(app: &Arc<App>, performance: &Performance) -> Performed {
    let effect = kind(&performance.queued.effect);
    let trace = performance.queued.cause.as_ref().and_then(|cause| cause.trace.as_ref());
    let span = traces::go_on(trace, || {
        tracing::info_span!(
            "effect",
            otel.name = format!("effect {effect}"),
            conversation = %performance.conversation.id,
            effect,
            seq = performance.queued.seq.0,
            attempt = performance.attempt,
        )
    });
    carry_out_in_time(app, performance).instrument(span).await
}

async fn carry_out_in_time(app: &Arc<App>, performance: &Performance) -> Performed {
    let timeout = performance.queued.effect.timeout(performance.attempt);
    let started = Instant::now();
    let outcome = match tokio::time::timeout(timeout, carry_out(app, performance)).await {
        Ok(Ok(Outcome::NoAnswer { retry_after_ms, .. })) => Some(Outcome::NoAnswer {
            waited_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            retry_after_ms,
        }),
        Ok(Ok(outcome)) => Some(outcome),
        Err(_) => Some(Outcome::no_answer(started.elapsed())),
        Ok(Err(error)) => error.outcome(started.elapsed()),
    };
    note(app, performance, outcome.as_ref(), started.elapsed());
    outcome.map_or(Performed::Fenced, Performed::Outcome)
}

async fn carry_out(app: &Arc<App>, performance: &Performance) -> Result<Outcome, CallError> {
    let conversation = performance.conversation.id.clone();
    let fence = performance.fence;
    let vm = vm(app, performance);
    match performance.queued.effect.clone() {
        Effect::Say(say) => Ok(say::send(app, performance, &say).await),
        Effect::StartRun { run, task } => start(app, &vm, performance, run, task).await,
        Effect::Ask { question } => {
            vm.ask(&CommandRequest { conversation, fence, command: Command::Ask { question } }).await
        }
        Effect::Decide { run, tree, decision } => {
            vm.decide(&ApproveRequest { conversation, fence, run, tree, decision }).await
        }
        Effect::Reply { run, number, reply } => {
            vm.reply(&ReplyRequest { conversation, fence, run, number, reply }).await
        }
        Effect::CancelRun { run } => vm.cancel(&CancelRequest { conversation, fence, run }).await,
        Effect::Probe { run } => vm.probe(&run).await,
        Effect::KeepImage { run, name, .. } => keep_image(app, &vm, &run, &name).await,
        Effect::KeepReview { run, tree, parts } => {
            review::keep(app, &vm, (&run, &tree), parts, performance.attempt).await
        }
        Effect::FetchFile { message, part, attachment } => {
            Ok(fetch_file(app, performance, &message, part, &attachment).await)
        }
        Effect::Transcribe { message, part, file } => transcribe(app, conversation, message, part, &file).await,
        Effect::Introduce { alias } => {
            let note = identity::note(&app.conversation(&alias));
            let kept = app.store.set_note(&note, conversation.as_str()).await;
            kept.map(|()| Outcome::Done).map_err(|_| CallError::NoAnswer)
        }
    }
}

/// The conversation's VM.
fn vm(app: &App, performance: &Performance) -> VmClient {
    let Queued { seq, effect, .. } = &performance.queued;
    let is_told = !matches!(effect, Effect::Probe { .. } | Effect::KeepImage { .. } | Effect::KeepReview { .. });
    let Conversation { id, written_at, .. } = &performance.conversation;
    app.vm(Asking { conversation: id.clone(), effect: *seq, is_told, written_at: *written_at })
}

/// The VM is given the files first. They may be too many for the time of one try: the next one goes on with those that are
/// missing.
async fn start(
    app: &Arc<App>,
    vm: &VmClient,
    performance: &Performance,
    run: RunId,
    task: Task,
) -> Result<Outcome, CallError> {
    if performance.attempt == 1 {
        show_typing(app, &performance.conversation);
    }
    if let Task::Prompt { files, .. } = &task {
        for file in files {
            if performance.attempt > 1 && vm.has(&file.id).await? {
                continue;
            }
            let gone = || CallError::Refused {
                reason: RefusalReason::NotFound,
                message: "A file of this task is no longer there. Please send it again.".to_owned(),
            };
            let blob = app.store.blob(&file.id, clock::now()).await.map_err(|_| CallError::NoAnswer)?;
            vm.give(&file.id, blob.ok_or_else(gone)?.bytes).await?;
        }
    }
    let (conversation, fence) = (performance.conversation.id.clone(), performance.fence);
    vm.start(&CommandRequest { conversation, fence, command: Command::Run { run, task } }).await
}

/// What only shows that something happens must not hold up what happens.
fn show_typing(app: &Arc<App>, conversation: &Conversation) {
    let (Some(address), Some(heard)) = (conversation.address.clone(), conversation.heard.clone()) else { return };
    // In a crowd nobody looks for it.
    let Ok(place) = Arc::clone(&app.typing).try_acquire_owned() else { return };
    let app_then = Arc::clone(app);
    app.asides.spawn(async move {
        let _place = place;
        if let Some(channel) = app_then.channel(address.channel) {
            // Whether it came in time is of no matter.
            let _ = tokio::time::timeout(TYPING_TIMEOUT, channel.show_typing(&heard)).await;
        }
    });
}

async fn keep_image(app: &App, vm: &VmClient, run: &RunId, name: &str) -> Result<Outcome, CallError> {
    let (content_type, bytes) = vm.image(name).await?;
    let id = app.blob_id(Kept::Picture { run, name });
    let blob = Blob { content_type: content_type.to_owned(), bytes: bytes.to_vec() };
    match app.store.put_blob(&id, blob, clock::now() + PICTURE_KEEP).await {
        Ok(()) => Ok(Outcome::ImageKept { blob: id }),
        Err(_) => Err(CallError::NoAnswer),
    }
}

async fn fetch_file(
    app: &App,
    performance: &Performance,
    message: &MessageId,
    part: usize,
    attachment: &Attachment,
) -> Outcome {
    let refused = |error: MediaError| Outcome::Refused { reason: None, message: error.to_string() };
    let conversation = &performance.conversation;
    let channel = conversation.address.as_ref().and_then(|address| app.channel(address.channel));
    let Some(channel) = channel else { return refused(MediaError::Gone) };
    let media = match channel.fetch(attachment).await {
        Ok(media) => media,
        Err(MediaError::NoAnswer(retry_after_ms)) => return Outcome::NoAnswer { waited_ms: 0, retry_after_ms },
        Err(MediaError::NotAccepted(pause_ms)) => return Outcome::Delayed { pause_ms },
        Err(error) => return refused(error),
    };
    let own_id = || app.blob_id(Kept::File { conversation: &conversation.id, message, part });
    let id = media.kept.clone().unwrap_or_else(own_id);
    let name = format!("file-{}.{}", part + 1, media.extension);
    let file =
        File { id: id.clone(), name, content_type: media.content_type.to_owned(), bytes: media.bytes.len() as u64 };
    // Kept as what no route shows: it is for the agent alone.
    let blob = Blob { content_type: "application/octet-stream".to_owned(), bytes: media.bytes.to_vec() };
    match app.store.put_blob(&id, blob, clock::now() + FILE_KEEP).await {
        Ok(()) => Outcome::FileKept { file },
        Err(_) => Outcome::NO_ANSWER,
    }
}

/// Begun here, done by itself: it takes longer than an effect may. If this relay dies meanwhile, the machine notices that
/// nothing came.
async fn transcribe(
    app: &Arc<App>,
    conversation: ConversationId,
    message: MessageId,
    part: usize,
    file: &File,
) -> Result<Outcome, CallError> {
    let Some(transcription) = app.transcription.clone() else {
        let message = "Voice notes can't be listened to on this relay.".to_owned();
        return Ok(Outcome::Refused { reason: None, message });
    };
    let blob = app.store.blob(&file.id, clock::now()).await.map_err(|_| CallError::NoAnswer)?;
    let recording = blob.and_then(|blob| Media::of(blob.bytes.into()).ok());
    let asides = app.asides.clone();
    let app = Arc::clone(app);
    asides.spawn(async move {
        let text = match recording {
            Some(recording) => transcription.listen(recording).await,
            None => None,
        };
        let event = Event::Transcript { message, part, text };
        if app.accept(conversation.clone(), event).await.is_err() {
            tracing::warn!(%conversation, "what a voice note says could not be kept; the person is told to send it again");
        }
    });
    Ok(Outcome::Done)
}

/// What kind of effect it is, for logs and operators: never what it says.
pub fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::Say(_) => "say",
        Effect::StartRun { .. } => "start_run",
        Effect::Decide { .. } => "decide",
        Effect::CancelRun { .. } => "cancel_run",
        Effect::Reply { .. } => "reply",
        Effect::Ask { .. } => "ask",
        Effect::Probe { .. } => "probe",
        Effect::KeepImage { .. } => "keep_image",
        Effect::KeepReview { .. } => "keep_review",
        Effect::FetchFile { .. } => "fetch_file",
        Effect::Transcribe { .. } => "transcribe",
        Effect::Introduce { .. } => "introduce",
    }
}

/// One line and one measure per try.
fn note(app: &App, performance: &Performance, outcome: Option<&Outcome>, took: Duration) {
    let effect = kind(&performance.queued.effect);
    let outcome = match outcome {
        None => "fenced",
        Some(Outcome::NoAnswer { .. }) => "no_answer",
        Some(Outcome::Busy { .. }) => "busy",
        Some(Outcome::Refused { .. }) => "refused",
        Some(Outcome::Undelivered { .. }) => "undelivered",
        Some(Outcome::Delayed { .. }) => "delayed",
        Some(_) => "done",
    };
    let (conversation, seq, attempt) = (&performance.conversation.id, performance.queued.seq.0, performance.attempt);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    app.metrics.tried(effect, outcome, took);
    tracing::info!(%conversation, effect, seq, attempt, outcome, took_ms, "effect");
}
