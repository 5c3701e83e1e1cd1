//! The control UI over a store in memory: who comes in, what they see, and that nothing is done but by their own forms.

use std::collections::HashMap;
use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, StatusCode, header};
use relay_core::id::{Address, BlobId, ChannelKind, EffectSeq, MessageId, NodeId};
use relay_core::machine::conversation::{Inquiry, Past};
use relay_core::machine::{Content, Conversation, Dead, Effect, Ending, Event, LogEntry, LogWhat, Message, Phase, Say};
use relay_core::protocol::Task;
use relay_core::store::operators::DeedKind;
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Commit, Held, Ingest, Ingested, Operators, Store};
use relay_core::telemetry::Identity;
use relay_core::telemetry::metrics::Metrics;
use relay_core::testing::giving_back;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::config::Config;
use crate::listener::Peer;
use crate::router::router;

mod drains;
mod orders;
mod pages;
mod sign_in;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "open-sesame-open-sesame-open-sesame";
const HERE: &str = "127.0.0.1:50000";
/// What would act, turn others around, or not be seen. It begins with these, as a list of tasks shows the beginning alone.
const MARKUP: &str =
    "\u{202e}txt\u{200b}\x1b[2J\nnext </code><script>alert('x')</script><img src=x onerror=alert(1)> & \"more\"";

struct Control {
    app: Arc<App>,
    store: SqliteStore,
    router: Router,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn to(&self) -> &str {
        self.headers.get(header::LOCATION).map_or("", |to| to.to_str().unwrap())
    }

    fn cookie(&self) -> &str {
        self.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap()
    }

    /// What the forms of this page carry.
    fn key(&self) -> &str {
        let marked = self.text.split("name=\"key\" value=\"").nth(1).expect("the page has a form");
        marked.split('"').next().unwrap()
    }
}

impl Control {
    fn new(more: &[(&'static str, &'static str)]) -> Self {
        let mut settings =
            HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", "http://127.0.0.1:9")]);
        settings.extend(more.iter().copied());
        let store = SqliteStore::in_memory().unwrap();
        let (turns, _) = mpsc::channel(1);
        let config = Config::read(&settings).unwrap();
        let metrics = Metrics::new(&Identity::default());
        let app = Arc::new(App::new(config, metrics, Arc::new(store.clone()), turns).unwrap());
        Self { router: router(Arc::clone(&app)), app, store }
    }

    fn with_token() -> Self {
        Self::new(&[("ADMIN_TOKEN", TOKEN)])
    }

    async fn ask(&self, request: Builder, from: &str, body: String) -> Answer {
        let from: SocketAddr = from.parse().unwrap();
        let request = request.extension(ConnectInfo(Peer(from))).body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 22).await.unwrap().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).header("host", "localhost:3000"), HERE, String::new()).await
    }

    async fn get_with(&self, path: &str, cookie: &str) -> Answer {
        self.ask(Request::get(path).header("cookie", cookie), HERE, String::new()).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask(Request::post(path).header("host", "localhost:3000"), HERE, form(fields)).await
    }

    async fn sign_in(&self, token: &str, from: &str) -> Answer {
        self.ask(Request::post("/admin/session").header("host", "localhost:3000"), from, form(&[("token", token)]))
            .await
    }

    async fn held(&self, name: &str, number: &str) -> Held {
        let from = Address { channel: ChannelKind::Twilio, name: format!("whatsapp:+1555{number}") };
        let content = Content::Text { text: "hello".into() };
        let event = Event::Message(Message::new(MessageId::parse(format!("SM{number}")).unwrap(), from, content));
        let (conversation, node) = (ConversationId::parse(name).unwrap(), NodeId::parse("another").unwrap());
        let (id, nonce, now) = (event.id().unwrap(), clock::nonce(), clock::now());
        let ingest = Ingest { conversation, id, event, node, nonce, now };
        let Ingested::Held(held) = self.store.ingest(ingest).await.unwrap() else { panic!("it is new") };
        *held
    }

    /// A conversation in this phase, with a message that was given up, given back.
    async fn conversation(&self, name: &str, number: &str, phase: Phase, text: &str) {
        let held = self.held(name, number).await;
        let address = Some(Address { channel: ChannelKind::Twilio, name: format!("whatsapp:+1555{number}") });
        let effect = Effect::Say(Say { text: text.into(), ..Say::default() });
        let commit = Commit {
            log: told(text).into_iter().map(|what| LogEntry::new(None, what)).collect(),
            dead: vec![Dead { effect, reason: format!("no such number: {text}") }],
            activity: Some(Activity::of(&phase)),
            conversation: Conversation {
                phase,
                names: address.iter().cloned().collect(),
                address,
                queue: [Task::prompt(text)].into(),
                inquiry: Some(inquiry(text)),
                past: endings(text)
                    .into_iter()
                    .map(|ending| Past { run: held.conversation.run_id(1), ending })
                    .collect(),
                runs: 1,
                ..held.conversation.clone()
            },
            ..giving_back(&held, clock::nonce(), clock::now())
        };
        self.store.commit(commit).await.unwrap();
    }

    async fn starting(&self, name: &str, number: &str, text: &str) {
        let run = Conversation::new(ConversationId::parse(name).unwrap()).run_id(1);
        let phase = Phase::Starting { run, task: Task::prompt(text), effect: EffectSeq(1) };
        self.conversation(name, number, phase, text).await;
    }

    async fn waiting(&self, name: &str) -> u64 {
        let overview = self.store.overview(&ConversationId::parse(name).unwrap()).await.unwrap();
        overview.map_or(0, |overview| overview.inbox)
    }

    async fn deeds(&self) -> Vec<DeedKind> {
        let deeds = self.store.deeds(0, 100).await.unwrap();
        deeds.into_iter().map(|deed| deed.what).collect()
    }
}

/// Whatever has a text in it that is not ours.
fn told(text: &str) -> Vec<LogWhat> {
    let text = || text.to_owned();
    let blob = BlobId::parse("b1").unwrap();
    let mut told = vec![
        LogWhat::Asked { text: text() },
        LogWhat::Said { text: text() },
        LogWhat::Begun { task: text() },
        LogWhat::Started { driver: text() },
        LogWhat::Progress { text: text() },
        LogWhat::Picture { blob, caption: text(), document: false },
        LogWhat::Inquiry { text: text() },
        LogWhat::Operator { action: text() },
    ];
    told.extend(endings(&text()).map(|ending| LogWhat::Ended { ending }));
    told
}

fn endings(text: &str) -> [Ending; 3] {
    let text = || text.to_owned();
    [Ending::PullRequest { url: text() }, Ending::Pushed { branch: text() }, Ending::Parked { branch: text() }]
}

fn inquiry(text: &str) -> Inquiry {
    let (text, until) = (text.to_owned(), clock::now());
    Inquiry { number: 1, text, until, labels: vec![], several: false, parts: vec![], untaken: vec![], lost: false }
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}

const ORDERS: [&str; 8] = [
    "/admin/conversations/c0ffee0/cancel",
    "/admin/conversations/c0ffee0/forget",
    "/admin/conversations/c0ffee0/vm",
    "/admin/letters/1/redrive",
    "/admin/nodes/node/drain",
    "/admin/nodes/node/undrain",
    "/admin/session",
    "/admin/sign-out",
];
const PAGES: [&str; 7] = [
    "/admin",
    "/admin/conversations",
    "/admin/conversations/c0ffee0",
    "/admin/approvals",
    "/admin/letters",
    "/admin/machines",
    "/admin/deeds",
];
