//! What every route and every turn shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use relay_core::id::{Address, BlobId, ChannelKind, ConversationId, NodeId, RunId};
use relay_core::machine::{Event, Rules};
use relay_core::store::{Held, Ingest, Ingested, Store, StoreError};
use secrecy::ExposeSecret;
use sha2::Sha256;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::channels::console::ConsoleChannel;
use crate::channels::{Channel, twilio::TwilioChannel};
use crate::clock;
use crate::config::Config;
use crate::error::RequestError;
use crate::http::under;
use crate::vm::VmClient;

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

/// A conversation that this process holds.
pub struct Holding {
    /// What the store handed over.
    pub held: Held,
    /// When it was asked for, by a clock that nobody sets: the lease runs from then.
    pub leased: Instant,
}

/// One relay process.
pub struct App {
    /// What it was told from outside.
    pub config: Config,
    /// What it shares with other relays.
    pub store: Arc<dyn Store>,
    /// Its name.
    pub node: NodeId,
    /// The machine's limits.
    pub rules: Rules,
    /// The way to the VM.
    pub vm: VmClient,
    /// The web chat.
    pub console: ConsoleChannel,
    /// WhatsApp, if configured.
    pub twilio: Option<TwilioChannel>,
    /// Cancelled when this process begins to stop: streams to viewers end.
    pub stopping: CancellationToken,
    /// Messages from people who may not write, since the start.
    unknown_senders: AtomicU64,
    /// Places for chat messages on their way.
    pub sends: Semaphore,
    /// Conversations that this process holds and whose turn is to be taken.
    pub turns: mpsc::Sender<Holding>,
}

impl App {
    /// A relay over `store` that hands the conversations it takes to `turns`.
    pub fn new(config: Config, store: Arc<dyn Store>, turns: mpsc::Sender<Holding>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let twilio = config.twilio.clone().map(|twilio| TwilioChannel::new(http.clone(), twilio)).transpose()?;
        Ok(Self {
            node: clock::node(),
            rules: config.rules.clone(),
            vm: VmClient::new(http, config.vm_url.clone(), config.vm_secret.clone()),
            console: ConsoleChannel::new(Arc::clone(&store)),
            twilio,
            stopping: CancellationToken::new(),
            unknown_senders: AtomicU64::new(0),
            sends: Semaphore::new(SENDS_MAX),
            store,
            turns,
            config,
        })
    }

    /// The conversation with this address.
    pub fn conversation(&self, address: &Address) -> ConversationId {
        address.conversation(self.config.relay_secret.expose_secret().as_bytes())
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
        if let Some(held) = self.record(conversation, event).await? {
            self.take_turn(held);
        }
        Ok(())
    }

    /// Record an event. What is returned is held by this process and must be given to [`App::take_turn`].
    pub async fn record(&self, conversation: ConversationId, event: Event) -> Result<Option<Holding>, RequestError> {
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
            Ingested::Held(held) => Ok(Some(Holding { held: *held, leased })),
            Ingested::Queued | Ingested::Duplicate => Ok(None),
            Ingested::Full => Err(RequestError::InboxFull),
        }
    }

    /// Hand a held conversation to the worker. If it has too many already, the lease runs out and a relay with time for
    /// it claims the conversation.
    pub fn take_turn(&self, holding: Holding) {
        if let Err(error) = self.turns.try_send(holding) {
            tracing::warn!(%error, "a conversation has to wait for its lease to run out");
        }
    }

    /// Note that somebody wrote who may not: a count, never who.
    pub fn count_unknown_sender(&self) {
        let count = self.unknown_senders.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::warn!(count, "ignored a message from a sender who is not in ALLOWED_PHONE_NUMBERS");
    }

    /// The name under which a run's picture is kept: nobody can guess it.
    pub fn blob_id(&self, run: &RunId, name: &str) -> BlobId {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.config.relay_secret.expose_secret().as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(format!("picture\0{run}\0{name}").as_bytes());
        BlobId::parse(hex::encode(&mac.finalize().into_bytes()[..24])).expect("hex within the bound")
    }

    /// Where anyone who knows the address can fetch a kept picture.
    pub fn picture_url(&self, blob: &BlobId) -> Url {
        under(&self.config.public_url.url, &format!("/images/{blob}"))
    }
}
