//! What every route and every turn shares.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use relay_core::id::{
    Address, BlobId, ChannelKind, ConversationId, EffectSeq, MessageId, NodeId, Nonce, RunId, TreeHash,
};
use relay_core::machine::{Cause, Event, Message, Rules};
use relay_core::store::{Held, Ingest, Ingested, Store, StoreError};
use relay_core::telemetry::metrics::Metrics;
use relay_core::telemetry::traces;
use relay_core::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use url::Url;

use crate::channels::console::ConsoleChannel;
use crate::channels::{Channel, twilio::TwilioChannel};
use crate::clock;
use crate::config::Config;
use crate::directory::{self, Asking, VmDirectory};
use crate::error::RequestError;
use crate::http::under;
use crate::identity;
use crate::links::{Links, Purpose};
use crate::metrics::{LeasedBy, RelayMetrics};
use crate::presence::Presence;
use crate::streams::Streams;
use crate::transcription::Transcription;
use crate::viewers::Viewers;
use crate::vm::VmClient;
use crate::worker::Lines;

/// A caller is refused while it still listens: a webhook's sender then turns to its fallback.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_800);

/// The store's answer to what a caller waits for. Too late an answer is none: the call may have been carried out.
pub async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable("no answer in time".into());
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(late)?
}

/// Chat messages on their way at the same time at most: taking messages in comes before sending, and Twilio refuses callers
/// with too many requests at once (error 20429).
const SENDS_MAX: usize = 32;

/// Typing indicators on their way at the same time at most; one more is not shown.
const TYPING_MAX: usize = 16;

/// Commits on their way at the same time at most, for the same reason: what waits longer is worked on in fewer steps.
const COMMITS_MAX: usize = 4;

/// With so many events being taken in at once, those that came are worked on a little later, and then together.
const CROWD: usize = 32;
const GIVE_WAY: Duration = Duration::from_secs(2);

/// A webhook tells of a message no older than this: Twilio gives one up after fifteen seconds.
const WEBHOOK_AGE_MAX: Duration = Duration::from_secs(20);

/// Something that the store keeps for a while.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'a> {
    /// A picture that a run made.
    Picture {
        /// The run.
        run: &'a RunId,
        /// What the VM calls it.
        name: &'a str,
    },
    /// A text that a message shows in part.
    Page {
        /// Whose message.
        conversation: &'a ConversationId,
        /// The effect that asks for it.
        effect: EffectSeq,
    },
    /// A file that a person sent.
    File {
        /// Whose.
        conversation: &'a ConversationId,
        /// With which message.
        message: &'a MessageId,
        /// Which of its files.
        part: usize,
    },
    /// A file that a person gives to the console before they send it.
    Upload {
        /// Whose.
        conversation: &'a ConversationId,
        /// Which; made up for it.
        upload: &'a Nonce,
    },
    /// A part of a diff as the review page shows it.
    Review {
        /// The run whose diff it is.
        run: &'a RunId,
        /// The diff.
        tree: &'a TreeHash,
        /// Which part; the index is 0.
        part: u32,
    },
}

impl Kept<'_> {
    /// The name under which it is kept, under a deployment's secret.
    pub fn id(&self, secret: &SecretString) -> BlobId {
        let name = match self {
            Kept::Picture { run, name } => format!("picture\0{run}\0{name}"),
            Kept::Page { conversation, effect } => format!("page\0{conversation}\0{}", effect.0),
            Kept::File { conversation, message, part } => format!("file\0{conversation}\0{message}\0{part}"),
            Kept::Upload { conversation, upload } => format!("upload\0{conversation}\0{upload}"),
            Kept::Review { run, tree, part } => format!("review\0{run}\0{tree}\0{part}"),
        };
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("HMAC takes a key of any length");
        mac.update(name.as_bytes());
        BlobId::parse(hex::encode(&mac.finalize().into_bytes()[..24])).expect("hex within the bound")
    }
}

/// A conversation that this process holds.
pub struct Holding {
    /// What the store handed over.
    pub held: Held,
    /// When it was asked for, by a clock that nobody sets: the lease runs from then.
    pub leased: Instant,
}

/// What came of an event.
enum Recorded {
    /// This process holds its conversation.
    Held(Box<Holding>),
    /// Somebody else does, and will see it.
    Queued,
    /// It was there before.
    Duplicate,
}

/// Counts down when dropped, also when whoever called is gone.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One relay process.
pub struct App {
    /// What it was told from outside.
    pub config: Config,
    /// What it shares with other relays.
    pub store: Arc<dyn Store>,
    /// Its name.
    pub node: NodeId,
    /// What it tells the others of itself.
    pub presence: Presence,
    /// The machine's limits.
    pub rules: Rules,
    /// Where the VMs are.
    pub vms: Arc<dyn VmDirectory>,
    /// Calls the VMs.
    http: reqwest::Client,
    /// Signs addresses that open something to whoever has them.
    pub links: Links,
    /// The web chat.
    pub console: ConsoleChannel,
    /// WhatsApp, if configured.
    pub twilio: Option<TwilioChannel>,
    /// Open pages of the console.
    pub streams: Streams,
    /// Whoever looks on.
    pub viewers: Arc<Viewers>,
    /// Cancelled when this process begins to stop: streams to viewers end.
    pub stopping: CancellationToken,
    /// Voice notes are written down there, if anywhere.
    pub transcription: Option<Transcription>,
    /// What is counted and measured.
    pub metrics: RelayMetrics,
    /// This relay's place in the lines of the channels.
    pub lines: Lines,
    /// Places for chat messages on their way.
    pub sends: Semaphore,
    /// Places for commits on their way.
    pub commits: Semaphore,
    /// Events being taken in right now.
    taking_in: AtomicUsize,
    /// What is done beside the turns, and not waited for by anybody: typing indicators, voice notes, VMs
    /// that are made or woken, logs that are read for viewers.
    pub asides: TaskTracker,
    /// Places for typing indicators on their way.
    pub typing: Arc<Semaphore>,
    /// Since when Twilio may have told things in vain.
    pub deaf_since: Mutex<Option<Timestamp>>,
    /// Conversations that this process holds and whose turn is to be taken.
    pub turns: mpsc::Sender<Holding>,
}

impl App {
    /// A relay over `store` that hands the conversations it takes to `turns`.
    pub fn new(
        config: Config,
        metrics: Metrics,
        store: Arc<dyn Store>,
        turns: mpsc::Sender<Holding>,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let public_url = config.public_url.given.clone();
        let twilio = config.twilio.clone().map(|twilio| TwilioChannel::new(http.clone(), twilio, public_url));
        let links = Links::configured(&config.link_keys, &config.relay_secret);
        let console = ConsoleChannel::new(Arc::clone(&store), links.clone());
        let rules = Rules {
            console: console.capabilities(),
            twilio: twilio.as_ref().map_or(config.rules.twilio, TwilioChannel::capabilities),
            ..config.rules
        };
        let transcription = config.transcription.clone();
        let (asides, stopping) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self {
            node: clock::node(),
            presence: Presence::default(),
            rules,
            transcription: transcription.map(|config| Transcription::new(http.clone(), config)),
            vms: directory::open(&config, http.clone(), Arc::clone(&store), asides.clone()),
            http,
            links,
            console,
            twilio,
            streams: Streams::default(),
            viewers: Viewers::new(Arc::clone(&store), asides.clone(), stopping.clone()),
            stopping,
            metrics: RelayMetrics::new(metrics, &store),
            lines: Lines::default(),
            sends: Semaphore::new(SENDS_MAX),
            commits: Semaphore::new(COMMITS_MAX),
            taking_in: AtomicUsize::new(0),
            deaf_since: Mutex::new(None),
            asides,
            typing: Arc::new(Semaphore::new(TYPING_MAX)),
            store,
            turns,
            config,
        })
    }

    /// What calls the VM that is asked for.
    pub fn vm(&self, asking: Asking) -> VmClient {
        VmClient::new(self.http.clone(), Arc::clone(&self.vms), asking)
    }

    /// The conversation named after this address.
    pub fn conversation(&self, address: &Address) -> ConversationId {
        identity::named(&self.config.relay_secret, address)
    }

    /// The conversation of whoever is called `address`, and `alias` as well; `None` when they may not write. `is_named` says that
    /// ALLOWED_PHONE_NUMBERS names them.
    pub async fn conversation_of(
        &self,
        address: &Address,
        alias: Option<&Address>,
        is_named: bool,
    ) -> Result<Option<ConversationId>, RequestError> {
        let Some(twilio) = &self.config.twilio else { return Ok(None) };
        let (store, secret) = (&*self.store, &self.config.relay_secret);
        let found = identity::of_sender(store, secret, &twilio.allowed, (address, alias), is_named);
        Ok(in_time(found).await?)
    }

    /// The service that carries messages of this kind, if it is configured.
    pub fn channel(&self, kind: ChannelKind) -> Option<&dyn Channel> {
        match kind {
            ChannelKind::Console => Some(&self.console),
            ChannelKind::Twilio => self.twilio.as_ref().map(|twilio| twilio as &dyn Channel),
        }
    }

    /// Record an event and see to it. When this returns, the event will be processed, whatever becomes of this process.
    pub async fn accept(&self, conversation: ConversationId, event: Event) -> Result<(), RequestError> {
        self.take_in(conversation, event).await.map(drop)
    }

    /// As [`App::accept`]; whether the event was new.
    pub async fn take_in(&self, conversation: ConversationId, event: Event) -> Result<bool, RequestError> {
        Ok(match self.ingest(conversation, event).await? {
            Recorded::Held(holding) => {
                self.take_turn(*holding);
                true
            }
            Recorded::Queued => true,
            Recorded::Duplicate => false,
        })
    }

    /// Record an event. What is returned is held by this process and must be given to [`App::take_turn`].
    pub async fn record(&self, conversation: ConversationId, event: Event) -> Result<Option<Holding>, RequestError> {
        Ok(match self.ingest(conversation, event).await? {
            Recorded::Held(holding) => Some(*holding),
            Recorded::Queued | Recorded::Duplicate => None,
        })
    }

    /// Let those who wait for an answer to their webhook go first, if they are many.
    pub async fn give_way(&self) {
        if self.taking_in.load(Ordering::Relaxed) >= CROWD {
            tokio::time::sleep(GIVE_WAY).await;
        }
    }

    /// An event goes on in the trace in which it was taken in.
    async fn ingest(&self, conversation: ConversationId, mut event: Event) -> Result<Recorded, RequestError> {
        let span = traces::inside(|| {
            tracing::info_span!(
                "send mailbox",
                otel.kind = "producer",
                messaging.system = "textslash",
                messaging.operation.name = "send",
                messaging.operation.type = "send",
                messaging.destination.name = "mailbox",
                %conversation,
            )
        });
        if let Event::Message(Message { cause, .. }) | Event::Reviewed { cause, .. } = &mut event {
            *cause = Some(Cause { trace: traces::of(&span), asked_at: Some(clock::now()) });
        }
        self.append(conversation, event).instrument(span).await
    }

    async fn append(&self, conversation: ConversationId, event: Event) -> Result<Recorded, RequestError> {
        self.taking_in.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&self.taking_in);
        let id = event.id().ok_or(RequestError::Malformed("an event without an id"))?;
        let leased = Instant::now();
        let ingested = in_time(async {
            clock::ensure(&*self.store).await?;
            let (node, nonce, now) = (self.node.clone(), clock::nonce(), clock::now());
            let ingest = Ingest { conversation, id, event, node, nonce, now };
            match self.store.ingest(ingest.clone()).await {
                // If only the answer was lost, this one says that the lease is ours; nobody else would know before it ends.
                Err(StoreError::Unavailable(_)) => self.store.ingest(ingest).await,
                answer => answer,
            }
        });
        match ingested.await? {
            Ingested::Held(held) => {
                self.metrics.leased(if held.abandoned { LeasedBy::Takeover } else { LeasedBy::Arrival });
                Ok(Recorded::Held(Box::new(Holding { held: *held, leased })))
            }
            Ingested::Queued => Ok(Recorded::Queued),
            Ingested::Duplicate => Ok(Recorded::Duplicate),
            Ingested::Full => Err(RequestError::InboxFull),
        }
    }

    /// What Twilio told was refused, and will not come again by itself: it is asked for once it can be taken.
    pub fn refused_webhook(&self) {
        self.deaf_since(clock::now());
    }

    /// What Twilio told from then on may have been refused, here or by another relay.
    pub fn deaf_since(&self, at: Timestamp) {
        let since = at - WEBHOOK_AGE_MAX;
        let mut deaf_since = self.deaf_since.lock().unwrap_or_else(PoisonError::into_inner);
        *deaf_since = Some(deaf_since.map_or(since, |before| before.min(since)));
    }

    /// Hand a held conversation to the worker. If it has too many already, the lease runs out and a relay with time for
    /// it claims the conversation.
    pub fn take_turn(&self, holding: Holding) {
        if let Err(error) = self.turns.try_send(holding) {
            tracing::warn!(%error, "a conversation has to wait for its lease to run out");
        }
    }

    /// The name under which something is kept: nobody can guess it, and it is the same each time it is kept.
    pub fn blob_id(&self, kept: Kept<'_>) -> BlobId {
        kept.id(&self.config.relay_secret)
    }

    /// Where anyone who knows the address can fetch a kept picture.
    pub fn picture_url(&self, blob: &BlobId) -> Url {
        under(&self.config.public_url.url, &format!("/images/{blob}"))
    }

    /// Where anyone who knows the address can read a kept page.
    pub fn page_url(&self, blob: &BlobId) -> Url {
        under(&self.config.public_url.url, &format!("/pages/{blob}"))
    }

    /// Where whoever has the address can read a diff, and decide on it, until `expires_at`.
    pub fn review_url(&self, run: &RunId, tree: &TreeHash, expires_at: Timestamp) -> Url {
        let signed = self.links.sign(Purpose::Review, &format!("{run}/{tree}"), expires_at);
        under(&self.config.public_url.url, &format!("/r/{signed}"))
    }

    /// Where whoever has the address can look on at a run, until `expires_at`.
    pub fn run_url(&self, run: &RunId, expires_at: Timestamp) -> Url {
        let mut url = under(&self.config.public_url.url, &format!("/runs/{run}"));
        url.query_pairs_mut().append_pair("key", &self.links.sign(Purpose::Run, run.as_str(), expires_at));
        url
    }
}
