//! Takes a lease holder's turn: asks [`Turn`] what to do, does it, tells it what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_core::machine::conversation::Waking;
use relay_core::machine::{Conversation, Event, Lane, Message, Outcome, Phase};
use relay_core::store::{Activity, Commit, Committed, LEASE, StoreError};
use relay_core::telemetry::traces;
use relay_core::turn::{Move, Performance, Turn};
use tokio::sync::{SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::perform::{self, Performed};
use super::timers::Deadline;
use crate::app::{App, Holding};
use crate::clock;

/// A commit whose answer was lost is made again this often; it changes nothing twice.
const COMMIT_ATTEMPTS_MAX: u32 = 3;
const COMMIT_PAUSE: Duration = Duration::from_millis(200);
/// A message that finds no place among those that are being sent is put off for so long.
const PLACE_PAUSE_MS: u64 = 1_000;

/// Work on one conversation until it is given back or lost. When it is due then is told to `deadlines`.
pub(super) async fn take(
    app: &Arc<App>,
    holding: Holding,
    deadlines: &mpsc::Sender<Deadline>,
    drain: &CancellationToken,
) {
    let (_taken, _counted) = (app.metrics.turn(), app.presence.turn());
    let span = span(&holding);
    work(app, holding, deadlines, drain).instrument(span).await;
}

/// A turn goes on in the trace of the first message that it is about, or of the run.
fn span(holding: &Holding) -> Span {
    let (conversation, inbox) = (&holding.held.conversation, &holding.held.inbox);
    let mut traces = inbox.iter().filter_map(|event| match event {
        Event::Message(Message { cause, .. }) | Event::Reviewed { cause, .. } => cause.as_ref()?.trace.as_ref(),
        _ => None,
    });
    let first = traces.next();
    let span = traces::begin(first.or(conversation.trace.as_ref()), || {
        tracing::info_span!(
            parent: None,
            "process mailbox",
            otel.kind = "consumer",
            messaging.system = "textslash",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = "mailbox",
            messaging.batch.message_count = inbox.len(),
            conversation = %conversation.id,
            trace_id = Empty,
        )
    });
    let run = conversation.run().and(conversation.trace.as_ref()).filter(|_| first.is_some());
    traces.chain(run).for_each(|other| traces::link(&span, Some(other)));
    span
}

/// What was told of at the commit before.
struct Told {
    activity: Activity,
    waking: Option<Waking>,
}

impl Told {
    fn of(conversation: &Conversation) -> Self {
        Self { activity: Activity::of(&conversation.phase), waking: conversation.waking.clone() }
    }
}

/// What is decided is told once it is committed, and once: effects may be asked for again.
fn count(app: &App, commit: &Commit, told: &mut Told) {
    let conversation = &commit.conversation;
    let Told { activity: was_going_on, waking: was_waking } = std::mem::replace(told, Told::of(conversation));
    if told.activity != was_going_on {
        match &conversation.phase {
            Phase::Starting { .. } => app.metrics.started_run(),
            Phase::Deciding { decision, .. } => app.metrics.decided(Some(decision)),
            Phase::Cancelling { .. } => app.metrics.decided(None),
            _ => {}
        }
    }
    // Whoever answers, by word or by deed, is awake.
    let is_up = matches!(conversation.phase, Phase::Working { .. } | Phase::AwaitingApproval(_));
    if let (Some(was_waking), None, true) = (was_waking, &conversation.waking, is_up) {
        app.metrics.woke(commit.now.since(was_waking.since));
    }
    commit.dead.iter().for_each(|dead| app.metrics.gave_up(perform::kind(&dead.effect)));
}

async fn work(app: &Arc<App>, holding: Holding, deadlines: &mpsc::Sender<Deadline>, drain: &CancellationToken) {
    let Holding { held, mut leased } = holding;
    let (conversation, mut told) = (held.conversation.id.clone(), Told::of(&held.conversation));
    let mut turn = Turn::begin(app.rules.clone(), held);
    if !drain.is_cancelled() {
        app.give_way().await;
    }
    loop {
        if drain.is_cancelled() {
            turn.drain();
        }
        // Read before the clock is: a lease must not seem to run for longer than the store has it.
        let asked = Instant::now();
        match turn.next(clock::now(), clock::nonce()) {
            Move::Commit(commit) => {
                match commit_surely(app, &commit).await {
                    Ok(answer) => {
                        if !matches!(answer, Committed::Fenced) {
                            count(app, &commit, &mut told);
                        }
                        let at = commit.deadline;
                        if let Committed::Released = answer {
                            // A full channel only means that the deadline is found in the store, a little later.
                            let _ = deadlines.try_send(Deadline { conversation: conversation.clone(), at });
                        }
                        turn.committed(answer);
                        leased = asked;
                    }
                    Err(error) => {
                        tracing::warn!(%conversation, %error, "turn abandoned; it goes on when the lease runs out");
                        return;
                    }
                }
            }
            Move::Perform(performance) => {
                let performed = match place(app, leased, &performance).await {
                    Place::Given(_place) => perform::perform(app, &performance).await,
                    Place::None => Performed::Outcome(Outcome::Delayed { pause_ms: PLACE_PAUSE_MS }),
                    Place::TooLate => {
                        tracing::warn!(%conversation, "held for too long; it goes on when the lease runs out");
                        return;
                    }
                };
                match performed {
                    Performed::Outcome(outcome) => turn.performed(performance.queued, outcome, clock::now()),
                    Performed::Fenced => {
                        tracing::info!(%conversation, "another relay has taken over");
                        return;
                    }
                }
            }
            Move::Over => return,
        }
    }
}

/// Whether an effect may be carried out.
enum Place<'a> {
    /// Now; those who send are counted.
    Given(Option<SemaphorePermit<'a>>),
    /// Too many others are sending.
    None,
    /// The lease may end first. Whoever was frozen for longer must not send what its successor has sent.
    TooLate,
}

/// A place among those who carry something out, while the lease lasts longer than the effect can take.
async fn place<'a>(app: &'a App, leased: Instant, performance: &Performance) -> Place<'a> {
    let effect = &performance.queued.effect;
    let timeout = effect.timeout(performance.attempt);
    let Some(left) = LEASE.checked_sub(timeout + leased.elapsed()).filter(|left| !left.is_zero()) else {
        return Place::TooLate;
    };
    match effect.lane() {
        Lane::Chat => match tokio::time::timeout(left, app.sends.acquire()).await {
            Ok(Ok(permit)) => Place::Given(Some(permit)),
            Ok(Err(_)) | Err(_) => Place::None,
        },
        Lane::Vm | Lane::Stop | Lane::Files => Place::Given(None),
    }
}

async fn commit_surely(app: &App, commit: &Commit) -> Result<Committed, StoreError> {
    let mut attempt = 1;
    let _place = app.commits.acquire().await;
    loop {
        match app.store.commit(commit.clone()).await {
            Err(StoreError::Unavailable(_)) if attempt < COMMIT_ATTEMPTS_MAX => {
                tokio::time::sleep(COMMIT_PAUSE * attempt).await;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}
