//! The control UI over a store in memory: who comes in, what they see, and that nothing is done but by their own forms.

use std::collections::HashMap;
use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, StatusCode, header};
use relay_core::id::{Address, ChannelKind, EffectSeq, MessageId, NodeId};
use relay_core::machine::{Content, Conversation, Dead, Effect, Event, LogEntry, LogWhat, Message, Phase, Say};
use relay_core::protocol::Task;
use relay_core::store::operators::DeedKind;
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Commit, Held, Ingest, Ingested, Operators, Store};
use relay_core::telemetry::Identity;
use relay_core::telemetry::metrics::Metrics;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::config::Config;
use crate::listener::Peer;
use crate::router::router;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "open-sesame-open-sesame-open-sesame";
const HERE: &str = "127.0.0.1:50000";
const MARKUP: &str = "</code><script>alert('x')</script><img src=x onerror=alert(1)> & \"more\"";

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
            fence: held.fence,
            nonce: clock::nonce(),
            previous: held.nonce,
            now: clock::now(),
            consumed: 1,
            acked: Vec::new(),
            effects: Vec::new(),
            log: vec![LogEntry::new(None, LogWhat::Asked { text: text.into() })],
            dead: vec![Dead { effect, reason: format!("no such number: {text}") }],
            activity: Some(Activity::of(&phase)),
            conversation: Conversation {
                phase,
                names: address.iter().cloned().collect(),
                address,
                queue: [Task::prompt(text)].into(),
                runs: 1,
                ..held.conversation
            },
            deadline: None,
            release: true,
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

#[tokio::test]
async fn without_a_token_it_is_for_this_machine_alone() {
    let control = Control::new(&[]);
    assert_eq!(control.get("/admin").await.status, StatusCode::OK);
    let asked = async |from: &str, headers: &[(&'static str, &'static str)]| {
        let request =
            headers.iter().fold(Request::get("/admin"), |request, (name, value)| request.header(*name, *value));
        control.ask(request, from, String::new()).await.status
    };
    assert_eq!(asked(HERE, &[("host", "evil.example.com")]).await, StatusCode::NOT_FOUND, "a rebound name");
    assert_eq!(asked("203.0.113.9:1", &[("host", "localhost")]).await, StatusCode::NOT_FOUND);
    let proxied = [("host", "localhost"), ("x-forwarded-for", "203.0.113.9")];
    assert_eq!(asked(HERE, &proxied).await, StatusCode::NOT_FOUND);
    let public = Control::new(&[("PUBLIC_URL", "https://relay.example.com")]);
    assert_eq!(public.get("/admin").await.status, StatusCode::NOT_FOUND, "a proxy makes every caller look local");
    assert_eq!(public.sign_in("", HERE).await.status, StatusCode::NOT_FOUND, "there is no token to give");
}

#[tokio::test]
async fn with_a_token_nothing_is_shown_before_it_is_given() {
    let control = Control::with_token();
    control.starting("c0ffee0", "0001", "what they want").await;
    for path in PAGES {
        let answer = control.get(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.text.contains("ADMIN_TOKEN") && !answer.text.contains("c0ffee0"), "{path}");
    }
    for path in ORDERS.iter().filter(|path| !path.ends_with("/session")) {
        assert_eq!(control.post(path, &[]).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let wrong = control.sign_in("open-sesame", HERE).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers.contains_key(header::SET_COOKIE) && wrong.text.contains("not the token"));

    let right = control.sign_in(TOKEN, HERE).await;
    assert_eq!((right.status, right.to()), (StatusCode::SEE_OTHER, "/admin"));
    let set = right.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(!set.contains("sesame"), "{set}");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/admin", "Max-Age=43200"] {
        assert!(set.contains(attribute), "{set}");
    }
    for path in PAGES {
        assert_eq!(control.get_with(path, right.cookie()).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(control.deeds().await, [DeedKind::SignIn], "only who came in");
}

#[tokio::test]
async fn a_session_ends_by_itself_and_can_be_changed_by_nobody() {
    let control = Control::with_token();
    let cookie = control.sign_in(TOKEN, HERE).await.cookie().to_owned();
    let opens = async |cookie: &str| control.get_with("/admin/deeds", cookie).await.status == StatusCode::OK;
    assert!(opens(&cookie).await);
    let (ends, rest) = cookie.strip_prefix("textslash_admin=").unwrap().split_once('.').unwrap();
    let later = ends.parse::<u64>().unwrap() + 1;
    assert!(!opens(&format!("textslash_admin={later}.{rest}")).await, "its end is a part of what is proved");
    let (name, proof) = rest.split_once('.').unwrap();
    for bad in [format!("{ends}.ffffffff.{proof}"), format!("{ends}.{name}."), String::new(), "..".into(), "x".into()] {
        assert!(!opens(&format!("textslash_admin={bad}")).await, "{bad}");
    }
    let token = control.app.config.admin_token.as_ref().unwrap();
    let held = cookie.strip_prefix("textslash_admin=").unwrap();
    let at =
        |late: u64| session::session(&control.app, token, held, Timestamp(ends.parse::<u64>().unwrap() + late - 1));
    assert!(at(0).is_some() && at(1).is_none(), "over at the very instant");
    let other = Control::new(&[("ADMIN_TOKEN", "another-sesame-another-sesame-another")]);
    assert_eq!(
        other.get_with("/admin", &cookie).await.status,
        StatusCode::UNAUTHORIZED,
        "another token ends all sessions"
    );
    let secure = Control::new(&[("ADMIN_TOKEN", TOKEN), ("PUBLIC_URL", "https://relay.example.com")]);
    let set = secure.sign_in(TOKEN, HERE).await;
    assert!(set.headers[header::SET_COOKIE].to_str().unwrap().contains("; Secure"));
}

#[tokio::test]
async fn a_tool_gives_the_token_with_each_request() {
    let control = Control::with_token();
    control.starting("c0ffee0", "0001", "x").await;
    let with = |request: Builder, token: &str| {
        let request = request.header("authorization", format!("Bearer {token}"));
        control.ask(request, HERE, String::new())
    };
    assert_eq!(with(Request::get("/admin"), TOKEN).await.status, StatusCode::OK);
    let wrong = with(Request::get("/admin"), "nonsense").await;
    assert_eq!(
        (wrong.status, wrong.headers[header::WWW_AUTHENTICATE].to_str().unwrap()),
        (StatusCode::UNAUTHORIZED, "Bearer")
    );
    let cancelled = with(Request::post(ORDERS[0]), TOKEN).await;
    assert_eq!(cancelled.status, StatusCode::SEE_OTHER, "{}", cancelled.text);
    assert_eq!(control.waiting("c0ffee0").await, 1);
    let run = format!("/runs/{}", Conversation::new(ConversationId::parse("c0ffee0").unwrap()).run_id(1));
    assert_eq!(with(Request::get(&run), TOKEN).await.status, StatusCode::OK, "a run's log");
    assert_eq!(with(Request::get(&run), "nonsense").await.status, StatusCode::NOT_FOUND);
    assert_eq!(control.get(&run).await.status, StatusCode::NOT_FOUND);
    assert_eq!(Control::new(&[]).get(&run).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_happened_is_shown_in_pages_and_one_run_alone() {
    let control = Control::new(&[]);
    let held = control.held("c0ffee0", "0001").await;
    let run = |number| Some(held.conversation.run_id(number));
    let said = |number: usize| LogWhat::Progress { text: format!("step {number:03} {MARKUP}") };
    let log = (0..HISTORY_ROWS + 10).map(|number| LogEntry::new(run(1 + number as u64 % 2), said(number))).collect();
    let commit = Commit {
        fence: held.fence,
        nonce: clock::nonce(),
        previous: held.nonce,
        now: clock::now(),
        consumed: 1,
        acked: Vec::new(),
        effects: Vec::new(),
        dead: Vec::new(),
        log,
        activity: None,
        conversation: held.conversation.clone(),
        deadline: None,
        release: true,
    };
    control.store.commit(commit).await.unwrap();
    let rows = async |query: &str| {
        let page = control.get(&format!("/admin/conversations/c0ffee0{query}")).await.text;
        assert_eq!(page.matches("<script").count(), 1, "our own");
        let steps = page.split("step ").skip(1).map(|rest| rest[..3].parse::<usize>().unwrap());
        steps.collect::<Vec<_>>()
    };
    assert_eq!(rows("").await, (10..60).collect::<Vec<_>>(), "the last first, in order");
    assert_eq!(rows("?page=2").await, (0..10).collect::<Vec<_>>());
    assert_eq!(rows("?run=2").await, (1..60).step_by(2).collect::<Vec<_>>());
    assert!(rows("?run=7").await.is_empty());
    assert!(rows("?page=9").await.is_empty());
}

#[tokio::test]
async fn nothing_is_done_by_get() {
    let control = Control::new(&[]);
    control.starting("c0ffee0", "0001", "x").await;
    for path in ORDERS {
        assert_eq!(control.get(path).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    for path in PAGES {
        control.get(&format!("{path}?done=forgotten&key=x&confirm=c0ffee")).await;
    }
    assert_eq!((control.waiting("c0ffee0").await, control.deeds().await), (0, Vec::new()));
    assert_eq!(control.store.dead_letters(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn only_a_form_of_this_very_session_does_anything() {
    let control = Control::with_token();
    control.starting("c0ffee0", "0001", "x").await;
    let (one, two) = (control.sign_in(TOKEN, HERE).await, control.sign_in(TOKEN, HERE).await);
    let key = control.get_with(PAGES[2], one.cookie()).await.key().to_owned();
    let foreign = control.get_with(PAGES[2], two.cookie()).await.key().to_owned();
    assert_ne!(key, foreign);
    let post = async |key: &str, more: &[(&'static str, &'static str)]| {
        let request = Request::post(ORDERS[0]).header("cookie", one.cookie()).header("host", "relay.example");
        let request = more.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        control.ask(request, HERE, form(&[("key", key), ("order", "0a1b")])).await.status
    };
    for bad in ["", "x", &foreign] {
        assert_eq!(post(bad, &[]).await, StatusCode::FORBIDDEN, "{bad}");
    }
    for elsewhere in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")]
    {
        assert_eq!(post(&key, &[elsewhere]).await, StatusCode::FORBIDDEN, "{elsewhere:?}");
    }
    assert_eq!(control.waiting("c0ffee0").await, 0);
    assert_eq!(post(&key, &[("sec-fetch-site", "same-origin")]).await, StatusCode::SEE_OTHER);
    assert_eq!(post(&key, &[("origin", "null")]).await, StatusCode::SEE_OTHER, "the form that is sent twice");
    assert_eq!(control.waiting("c0ffee0").await, 1, "is one order");
    let signed_out = Request::post("/admin/sign-out").header("cookie", one.cookie());
    let signed_out = control.ask(signed_out, HERE, form(&[("key", &key)])).await;
    assert!(signed_out.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn a_letter_is_redriven_and_a_person_forgotten_once_that_is_typed() {
    let control = Control::new(&[]);
    control.starting("c0ffee0badc0de", "0001", "x").await;
    let key = control.get("/admin/letters").await.key().to_owned();
    let key = key.as_str();
    let redriven = control.post("/admin/letters/1/redrive", &[("key", key)]).await;
    assert_eq!(redriven.to(), "/admin/letters?done=redriven");
    assert!(control.get(redriven.to()).await.text.contains("put back"));
    assert_eq!(control.post("/admin/letters/1/redrive", &[("key", key)]).await.to(), "/admin/letters?done=no-letter");
    assert_eq!(control.waiting("c0ffee0badc0de").await, 1);
    for typed in ["", "c0ff", "forget"] {
        let kept =
            control.post("/admin/conversations/c0ffee0badc0de/forget", &[("key", key), ("confirm", typed)]).await;
        assert!(kept.to().ends_with("?done=unconfirmed"), "{}", kept.to());
    }
    assert_eq!(control.waiting("c0ffee0badc0de").await, 1);
    let forgotten =
        control.post("/admin/conversations/c0ffee0badc0de/forget", &[("key", key), ("confirm", " c0ffee ")]).await;
    assert_eq!(forgotten.to(), "/admin/conversations?done=forgotten");
    assert_eq!(control.get("/admin/conversations/c0ffee0badc0de").await.status, StatusCode::NOT_FOUND);
    let conversation = ConversationId::parse("c0ffee0badc0de").unwrap();
    let redrive = DeedKind::Redrive { letter: 1 };
    assert_eq!(control.deeds().await, [DeedKind::Forget { conversation }, redrive.clone(), redrive]);
    assert_eq!(control.store.stats(clock::now()).await.unwrap().conversations, 0);
}

#[tokio::test]
async fn an_order_makes_no_conversation() {
    let control = Control::new(&[]);
    let key = control.get("/admin/machines").await.key().to_owned();
    for id in ["nobody", "%3Cb%3E", "a%20b", &"a".repeat(100)] {
        for order in ["cancel", "forget", "vm"] {
            let path = format!("/admin/conversations/{id}/{order}");
            let answer = control.post(&path, &[("key", &key), ("order", "1"), ("confirm", "nobody")]).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert_eq!(control.store.stats(clock::now()).await.unwrap().conversations, 0);
    assert_eq!(control.deeds().await, []);
}

#[tokio::test]
async fn a_relay_is_drained_and_takes_work_again() {
    let control = Control::new(&[]);
    let ready = async || control.get("/ready").await;
    assert_eq!(ready().await.status, StatusCode::OK);
    let page = control.get("/admin/machines").await;
    assert!(page.text.contains(control.app.node.as_str()) && page.text.contains("well"), "{}", page.text);
    let (node, key) = (control.app.node.clone(), page.key().to_owned());
    let drained = control.post(&format!("/admin/nodes/{node}/drain"), &[("key", &key)]).await;
    assert_eq!(drained.to(), "/admin/machines?done=drained");
    let answer = ready().await;
    assert!(
        answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.text.contains("\"draining\""),
        "{}",
        answer.text
    );
    assert_eq!(control.get("/health").await.status, StatusCode::OK);
    assert!(control.get("/admin/machines").await.text.contains("/undrain"));
    control.post(&format!("/admin/nodes/{node}/undrain"), &[("key", &key)]).await;
    assert_eq!(ready().await.status, StatusCode::OK);
    let gone = control.post("/admin/nodes/nobody/drain", &[("key", &key)]).await;
    assert_eq!(gone.to(), "/admin/machines?done=no-relay");
}

#[tokio::test]
async fn what_people_wrote_is_shown_as_text_and_where_they_are_reached_not_at_all() {
    let control = Control::new(&[("FLY_MACHINE_ID", "<b>machine</b>")]);
    control.starting("c0ffee0", "0001234", MARKUP).await;
    for path in PAGES {
        let page = control.get(&format!("{path}?state=%3Cscript%3E&page=%3Cscript%3E&done=%3Cscript%3E")).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert_eq!(page.text.matches("<script").count(), 1, "our own: {path}");
        assert!(!page.text.contains("<img") && !page.text.contains("<b>machine"), "{path}");
        assert!(!page.text.contains("+1555") && !page.text.contains("0001234"), "{path}");
    }
    assert!(control.get("/admin/letters").await.text.contains("&lt;script&gt;alert('x')"));
    assert!(control.get("/admin/conversations/c0ffee0").await.text.contains("&lt;script&gt;"));
    assert!(control.get("/admin/machines").await.text.contains("&lt;b&gt;machine"));
}

#[tokio::test]
async fn lists_come_in_pages_and_one_state_at_a_time() {
    let control = Control::new(&[]);
    for number in 0..ROWS + 3 {
        control.starting(&format!("c{number:03}"), &format!("{number:04}"), "x").await;
    }
    control.conversation("idle", "9999", Phase::Idle, "x").await;
    let rows = |page: &Answer| page.text.matches("href=\"/admin/conversations/").count();
    let first = control.get("/admin/conversations?state=starting").await;
    assert_eq!(rows(&first), ROWS);
    assert!(first.text.contains("?state=starting&amp;page=2"), "{}", first.text);
    let second = control.get("/admin/conversations?state=starting&page=2").await;
    assert_eq!(rows(&second), 3);
    assert!(!second.text.contains("page=3") && !second.text.contains("/idle\""));
    assert_eq!(rows(&control.get("/admin/conversations?page=2").await), 4, "whatever goes on");
    assert_eq!(rows(&control.get("/admin/conversations?state=working").await), 0);
    let letters = control.get("/admin/letters").await;
    assert_eq!(letters.text.matches("/redrive\"").count(), ROWS);
    assert!(letters.text.contains(&format!("?after={ROWS}\"")));
    assert_eq!(control.get("/admin/letters?after=25").await.text.matches("/redrive\"").count(), 4);
}

#[tokio::test]
async fn a_form_that_is_none_is_refused_and_nothing_is_done() {
    let control = Control::with_token();
    let cookie = control.sign_in(TOKEN, HERE).await.cookie().to_owned();
    control.starting("c0ffee0", "0001", "x").await;
    let key = control.get_with(PAGES[2], &cookie).await.key().to_owned();
    let request = Request::post(ORDERS[0]).header("cookie", &cookie);
    let malformed = control.ask(request, HERE, form(&[("key", &key), ("order", "<b>")])).await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
    assert!(malformed.text.contains("Nothing was done") && !malformed.text.contains("<b>"), "{}", malformed.text);
    let large = Request::post(ORDERS[0]).header("cookie", &cookie);
    let large = control.ask(large, HERE, "x".repeat(FORM_BYTES_MAX + 1)).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(control.waiting("c0ffee0").await, 0);
}
