//! What a relay counts and measures; `docs/telemetry.md` lists it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::routing::get;
use opentelemetry::KeyValue;
use relay_core::id::ChannelKind;
use relay_core::protocol::Decision;
use relay_core::store::{Activity, Store, Survey, Usage};
use relay_core::telemetry::metrics::{
    CALLS, CONTENT_TYPE, Counts, DurationsBy, Metrics, PATH, WAITS, counter, durations, plain_counter, record,
};
use relay_core::telemetry::{Counter, Histogram, Meter, UpDownCounter};
use relay_core::time::Timestamp;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// What a survey says is told for so long; by then another relay has made the next one.
pub const SURVEY_KEEP: Duration = Duration::from_secs(40);

/// The instruments.
pub struct RelayMetrics {
    metrics: Metrics,
    http: DurationsBy<Answered>,
    webhooks: Counts<7>,
    answers: Histogram<f64>,
    effects: DurationsBy<(&'static str, &'static str)>,
    turns: Histogram<f64>,
    turns_active: UpDownCounter<i64>,
    leases: Counts<3>,
    deadline_lag: Histogram<f64>,
    runs_started: Counter<u64>,
    decisions: Counter<u64>,
    wakes: Histogram<f64>,
    chat: Counter<u64>,
    caught_up: Counter<u64>,
    dead_letters: Counter<u64>,
    survey: Latest,
}

/// What requests are measured by: method, route, status.
type Answered = (&'static str, String, u16);
/// A value with its labels.
type Reading = (f64, Vec<KeyValue>);
/// The latest survey that this relay made, and when.
type Latest = Arc<Mutex<Option<Surveyed>>>;

/// A survey, and when it was made: by a clock that nobody sets, and by the store's. It is told as it was then, however often it is
/// asked for.
struct Surveyed {
    made: Instant,
    at: Timestamp,
    survey: Survey,
}

/// What became of a request of a chat service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// Its event is durable.
    Accepted,
    /// It came before.
    Repeated,
    /// From somebody who may not write.
    UnknownSender,
    /// Its signature does not verify.
    Unsigned,
    /// It is not one.
    Malformed,
    /// The conversation's inbox is full.
    Full,
    /// The store does not answer.
    Unavailable,
}

/// How a conversation came into this relay's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeasedBy {
    /// With an event.
    Arrival,
    /// Because it was due.
    Due,
    /// From a relay that did not give it back.
    Takeover,
}

/// What became of a chat message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chat {
    /// The channel took it.
    Sent,
    /// It was in doubt, and is found sent.
    Found,
    /// It was in doubt, and goes out again.
    Resent,
    /// The channel did not take it.
    Failed,
}

/// A turn that is being taken.
pub struct TurnTaken<'a> {
    metrics: &'a RelayMetrics,
    began: Instant,
}

impl Drop for TurnTaken<'_> {
    fn drop(&mut self) {
        self.metrics.turns_active.add(-1, &[]);
        record(&self.metrics.turns, self.began.elapsed(), &[]);
    }
}

const WEBHOOKS: [&str; 7] = ["accepted", "repeated", "unknown_sender", "unsigned", "malformed", "full", "unavailable"];
const LEASES: [&str; 3] = ["arrival", "due", "takeover"];
const CHAT: [&str; 4] = ["sent", "found", "resent", "failed"];
const DECISIONS: [&str; 4] = ["approve", "reject", "park", "cancel"];
const CHANNELS: [ChannelKind; 2] = [ChannelKind::Console, ChannelKind::Twilio];

impl RelayMetrics {
    /// All at zero.
    pub fn new(metrics: Metrics, store: &Arc<dyn Store>) -> Self {
        let meter = metrics.meter();
        let chat = counter(&meter, "textslash.chat.messages", "Chat messages by what became of them", "result", &[]);
        for channel in CHANNELS {
            for result in CHAT {
                chat.add(0, &[KeyValue::new("channel", channel.name()), KeyValue::new("result", result)]);
            }
        }
        let turns_active =
            meter.i64_up_down_counter("textslash.turns.active").with_description("Turns being taken").build();
        turns_active.add(0, &[]);
        let survey = Arc::default();
        watch_store(&meter, Arc::clone(store));
        watch_survey(&meter, &survey);
        Self {
            http: DurationsBy::new(durations(&meter, "http.server.request.duration", "Requests answered", CALLS)),
            webhooks: Counts::new(&meter, "textslash.webhooks", "Requests of chat services", "result", &WEBHOOKS),
            answers: durations(
                &meter,
                "textslash.answer.duration",
                "From a person's message to the first chat message in answer",
                WAITS,
            ),
            effects: DurationsBy::new(durations(
                &meter,
                "textslash.effect.duration",
                "Tries to carry something out",
                CALLS,
            )),
            turns_active,
            turns: durations(&meter, "textslash.turn.duration", "Turns", CALLS),
            leases: Counts::new(&meter, "textslash.leases", "Conversations taken", "how", &LEASES),
            deadline_lag: durations(&meter, "textslash.deadline.lag", "How late what was due was taken", WAITS),
            runs_started: plain_counter(&meter, "textslash.runs.started", "Runs asked of VMs"),
            decisions: counter(&meter, "textslash.decisions", "What became of work", "decision", &DECISIONS),
            wakes: durations(&meter, "textslash.wake.duration", "From a sleeping VM's first call to the run", WAITS),
            chat,
            caught_up: plain_counter(&meter, "textslash.messages.caught_up", "Messages taken in later"),
            dead_letters: counter(&meter, "textslash.dead_letters", "What was given up", "effect", &["say"]),
            survey,
            metrics,
        }
    }

    /// All of it, for a scraper.
    pub fn text(&self) -> Vec<u8> {
        self.metrics.text()
    }

    /// A request was answered.
    pub fn answered_request(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let wanted = |known: &Answered| known.2 == status && known.0 == method && known.1 == route;
        self.http.record(took, wanted, || {
            let labels = vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route.to_owned()),
                KeyValue::new("http.response.status_code", i64::from(status)),
            ];
            ((method, route.to_owned(), status), labels)
        });
    }

    /// A chat service told of something.
    pub fn webhook(&self, webhook: Webhook) {
        self.webhooks.add(webhook as usize);
    }

    /// The first chat message in answer to a person was taken.
    pub fn answered_person(&self, channel: ChannelKind, took: Duration) {
        record(&self.answers, took, &[KeyValue::new("channel", channel.name())]);
    }

    /// An effect was tried.
    pub fn tried(&self, effect: &'static str, outcome: &'static str, took: Duration) {
        self.effects.record(
            took,
            |known| *known == (effect, outcome),
            || ((effect, outcome), vec![KeyValue::new("effect", effect), KeyValue::new("outcome", outcome)]),
        );
    }

    /// A turn begins; it is over when what is returned is dropped.
    pub fn turn(&self) -> TurnTaken<'_> {
        self.turns_active.add(1, &[]);
        TurnTaken { metrics: self, began: Instant::now() }
    }

    /// A conversation was taken.
    pub fn leased(&self, by: LeasedBy) {
        self.leases.add(by as usize);
    }

    /// What was due was taken so late.
    pub fn took_due(&self, lag: Duration) {
        record(&self.deadline_lag, lag, &[]);
    }

    /// A VM was asked for a run.
    pub fn started_run(&self) {
        self.runs_started.add(1, &[]);
    }

    /// Something became of work.
    pub fn decided(&self, decision: Option<&Decision>) {
        let place = match decision {
            Some(Decision::Approve) => 0,
            Some(Decision::Reject) => 1,
            Some(Decision::Park) => 2,
            None => 3,
        };
        self.decisions.add(1, &[KeyValue::new("decision", DECISIONS[place])]);
    }

    /// A VM that did not answer has started a run.
    pub fn woke(&self, took: Duration) {
        record(&self.wakes, took, &[]);
    }

    /// Something became of a chat message.
    pub fn chat(&self, channel: ChannelKind, chat: Chat) {
        let labels = [KeyValue::new("channel", channel.name()), KeyValue::new("result", CHAT[chat as usize])];
        self.chat.add(1, &labels);
    }

    /// A message that was missed was taken in.
    pub fn caught_up(&self) {
        self.caught_up.add(1, &[]);
    }

    /// Something was given up.
    pub fn gave_up(&self, effect: &'static str) {
        self.dead_letters.add(1, &[KeyValue::new("effect", effect)]);
    }

    /// What everything stored looks like now.
    pub fn surveyed(&self, survey: Survey, at: Timestamp) {
        let surveyed = Surveyed { made: Instant::now(), at, survey };
        *self.survey.lock().unwrap_or_else(PoisonError::into_inner) = Some(surveyed);
    }
}

/// Serve them, and nothing else, until `drain` is cancelled.
pub async fn serve(app: Arc<App>, listener: TcpListener, drain: CancellationToken) -> std::io::Result<()> {
    let told = async |State(app): State<Arc<App>>| ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.metrics.text());
    let router = Router::new().route(PATH, get(told)).with_state(app);
    axum::serve(listener, router).with_graceful_shutdown(drain.cancelled_owned()).await
}

fn watch_store(meter: &Meter, store: Arc<dyn Store>) {
    let watch = |name: &'static str, description: &'static str, read: fn(Usage) -> u64| {
        let store = Arc::clone(&store);
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(read(store.usage()), &[]))
            .build();
    };
    watch("textslash.store.commands", "Commands of the store, as a hosted one bills them", |usage| usage.commands);
    watch("textslash.store.reconnects", "Connections to the store made again", |usage| usage.reconnects);
}

/// Nothing is told by a relay whose survey is old: another one tells.
fn watch_survey(meter: &Meter, latest: &Latest) {
    let gauge = |name: &'static str, description: &'static str, tell: fn(&Survey, Timestamp) -> Vec<Reading>| {
        let latest = Arc::clone(latest);
        meter
            .f64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| {
                let latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(latest) = latest.as_ref().filter(|latest| latest.made.elapsed() < SURVEY_KEEP) else { return };
                for (value, labels) in tell(&latest.survey, latest.at) {
                    observer.observe(value, &labels);
                }
            })
            .build();
    };
    gauge("textslash.service.conversations", "Conversations known", |survey, _| one(survey.conversations));
    gauge("textslash.service.due", "Conversations with work that nobody has taken", |survey, _| one(survey.due));
    gauge("textslash.service.dead_letters", "What was given up and not redriven", |survey, _| one(survey.dead_letters));
    gauge("textslash.service.oldest_due_seconds", "How long the oldest of them has waited", |survey, at| {
        vec![(age(survey.oldest_due_at, at), Vec::new())]
    });
    gauge("textslash.service.phase", "Conversations by what is going on", |survey, _| {
        each(|activity| survey.activities.get(&activity).map_or(0.0, |busy| busy.count as f64))
    });
    gauge("textslash.service.phase_oldest_seconds", "How long the oldest of them is in it", |survey, at| {
        each(|activity| age(survey.activities.get(&activity).map(|busy| busy.oldest_at), at))
    });
}

fn one(count: u64) -> Vec<Reading> {
    vec![(count as f64, Vec::new())]
}

fn each(value: impl Fn(Activity) -> f64) -> Vec<Reading> {
    let labels = |activity: Activity| vec![KeyValue::new("phase", activity.name())];
    Activity::BUSY.into_iter().map(|activity| (value(activity), labels(activity))).collect()
}

fn age(since: Option<Timestamp>, at: Timestamp) -> f64 {
    since.map_or(0.0, |since| at.since(since).as_secs_f64())
}
