//! The routes of the console over a store in memory: who reaches what.

use std::collections::HashMap;
use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use relay_core::id::ConversationId;
use relay_core::store::Store;
use relay_core::store::sqlite::SqliteStore;
use relay_core::telemetry::Identity;
use relay_core::telemetry::metrics::Metrics;
use relay_core::time::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::app::Holding;
use crate::channels::console::person::{GuestName, Person};
use crate::clock;
use crate::config::Config;
use crate::guests;
use crate::links::Purpose;
use crate::listener::Peer;
use crate::router::router;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// A relay that the world reaches, with a token for its owner.
const PUBLIC: [(&str, &str); 2] = [("PUBLIC_URL", "https://relay.example"), ("CONSOLE_TOKEN", SECRET)];

struct House {
    app: Arc<App>,
    router: Router,
    _turns: mpsc::Receiver<Holding>,
}

/// What came back.
struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What the browser holds from now on.
    fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap().to_owned()
    }
}

impl House {
    fn open(more: &[(&'static str, &'static str)]) -> Self {
        let mut settings =
            HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", "http://127.0.0.1:9")]);
        settings.extend(more.iter().copied());
        let (room, turns) = mpsc::channel(64);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
        let metrics = Metrics::new(&Identity::default());
        let app = Arc::new(App::new(Config::read(&settings).unwrap(), metrics, store, room).unwrap());
        Self { router: router(Arc::clone(&app)), app, _turns: turns }
    }

    async fn ask(&self, method: &str, path: &str, cookie: &str, more: &[(&str, &str)], body: String) -> Got {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:3000");
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let peer = Peer("127.0.0.1:5000".parse::<SocketAddr>().unwrap());
        let request = request.extension(ConnectInfo(peer)).body(Body::from(body)).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        // A stream of events goes on; what matters of it is that it began.
        let is_stream = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let bytes = if is_stream { Bytes::new() } else { to_bytes(body, 1 << 22).await.unwrap() };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Got { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn get(&self, path: &str, cookie: &str) -> Got {
        self.ask("GET", path, cookie, &[], String::new()).await
    }

    async fn post(&self, path: &str, cookie: &str) -> Got {
        self.ask("POST", path, cookie, &[("sec-fetch-site", "same-origin")], String::new()).await
    }

    async fn write(&self, place: &str, cookie: &str, text: &str) -> u16 {
        let body = json!({ "id": clock::nonce().as_str(), "text": text }).to_string();
        let json = [("content-type", "application/json")];
        self.ask("POST", &format!("/console/send{place}"), cookie, &json, body).await.status
    }

    async fn invite(&self, name: &str) -> String {
        let (store, secret) = (&*self.app.store, &self.app.config.relay_secret);
        let signed = guests::invite(store, secret, &self.app.links, &named(name)).await.unwrap().unwrap();
        format!("/console/invited/{signed}")
    }

    /// The button of an invitation's page is pressed.
    async fn press(&self, link: &str, cookie: &str) -> Got {
        let links = &self.app.links;
        let invited = guests::Invited::of_link(links, link.rsplit('/').next().unwrap());
        let form = invited.map(|invited| invited.form(links)).unwrap_or_default();
        self.send(link, cookie, &form).await
    }

    async fn send(&self, link: &str, cookie: &str, form: &str) -> Got {
        let headers = [("sec-fetch-site", "same-origin"), ("content-type", "application/x-www-form-urlencoded")];
        self.ask("POST", link, cookie, &headers, format!("form={form}")).await
    }

    /// A guest's cookie.
    async fn guest(&self, name: &str) -> String {
        self.press(&self.invite(name).await, "").await.cookie()
    }

    async fn owner(&self) -> String {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        self.ask("POST", "/console/session", "", &form, format!("token={SECRET}")).await.cookie()
    }

    fn conversation(&self, person: &Person, number: u8) -> ConversationId {
        self.app.conversation(&person.address(number))
    }

    async fn feed(&self, person: &Person, number: u8) -> String {
        let entries = self.app.store.feed(&self.conversation(person, number), 0, 100).await.unwrap();
        entries.into_iter().map(|entry| entry.entry).collect()
    }
}

fn named(name: &str) -> GuestName {
    GuestName::parse(name).unwrap()
}

#[tokio::test]
async fn two_conversations_of_one_person_do_not_mix() {
    let house = House::open(&[]);
    assert_eq!(house.write("", "", "first <b>words").await, 202);
    let begun = house.post("/console/conversations", "").await;
    assert_eq!((begun.status, begun.header("location")), (303, "/console?conversation=2"));
    assert_eq!(house.write("?conversation=2", "", "other\nwords").await, 202);
    let (first, second) = (house.feed(&Person::Owner, 1).await, house.feed(&Person::Owner, 2).await);
    assert!(first.contains("first <b>words") && !first.contains("other"), "{first}");
    assert!(second.contains("other") && !second.contains("first"), "{second}");
    let page = house.get("/console?conversation=2", "").await.text;
    assert!(page.contains("first &lt;b&gt;words") && page.contains("<title>other words · Textslash</title>"), "{page}");
    assert!(page.contains("href=\"/console?conversation=2\" aria-current=\"page\""), "{page}");
    assert!(page.contains("href=\"/console/files?conversation=2\""), "{page}");
}

#[tokio::test]
async fn a_conversation_that_was_not_begun_is_not_there() {
    let house = House::open(&[]);
    for number in ["2", "21", "0", "x", "-1", "1/2"] {
        let place = format!("?conversation={number}");
        for path in ["/console", "/console/events", "/console/files", "/console/files/README.md"] {
            assert_eq!(house.get(&format!("{path}{place}"), "").await.status, 404, "{path}{place}");
        }
        assert_eq!(house.write(&place, "", "hi").await, 404, "{place}");
        assert_eq!(house.post(&format!("/console/conversations{place}"), "").await.status, 404, "{place}");
    }
    assert_eq!(house.get("/console?conversation=1", "").await.status, 200);
}

#[tokio::test]
async fn whoever_has_an_empty_conversation_begins_no_other_and_there_is_an_end_to_them() {
    let house = House::open(&[]);
    assert_eq!(house.post("/console/conversations", "").await.header("location"), "/console");
    house.write("", "", "hi").await;
    let elsewhere = [("sec-fetch-site", "cross-site")];
    let refused = house.ask("POST", "/console/conversations", "", &elsewhere, String::new()).await;
    assert_eq!((refused.status, house.get("/console?conversation=2", "").await.status), (403, 404));
    for number in 2..=20 {
        let begun = house.post("/console/conversations", "").await;
        assert_eq!(begun.header("location"), format!("/console?conversation={number}"));
    }
    let full = house.post("/console/conversations", "").await;
    assert!(full.status == 409 && full.text.contains("as many conversations as there can be"), "{}", full.text);
    assert!(house.get("/console", "").await.text.contains("These are as many as there can be."));
}

#[tokio::test]
async fn an_invitation_lets_one_browser_in_and_looking_at_it_does_nothing() {
    for settings in [&[][..], &PUBLIC[..], &PUBLIC[..1]] {
        let house = House::open(settings);
        let link = house.invite("anna").await;
        for _ in 0..2 {
            let page = house.get(&link, "").await;
            assert!(page.status == 200 && page.text.contains("Open the console"), "{}", page.text);
            assert_eq!(page.header("set-cookie"), "");
        }
        let elsewhere = house.ask("POST", &link, "", &[("sec-fetch-site", "cross-site")], String::new()).await;
        assert_eq!((elsewhere.status, elsewhere.header("set-cookie")), (403, ""));
        let other = house.invite("anna").await;
        let page = house.get(&other, "").await.text;
        let form = page.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        for form in ["", form] {
            let not_its_own = house.send(&link, "", form).await;
            assert_eq!((not_its_own.status, not_its_own.header("set-cookie")), (403, ""));
        }
        let [first, lost] = [house.send(&other, "", form).await, house.send(&other, "", form).await];
        assert_eq!((first.status, lost.status), (303, 303), "of one page, whose first answer was lost");
        let accepted = house.press(&link, "").await;
        assert_eq!((accepted.status, accepted.header("location")), (303, "/console"));
        let attributes = accepted.header("set-cookie").split_once("; ").unwrap().1.to_owned();
        let secure = if settings.is_empty() { "" } else { "; Secure" };
        assert_eq!(attributes, format!("Path=/; HttpOnly; SameSite=Strict{secure}; Max-Age=2592000"));
        let cookie = accepted.cookie();
        for again in [house.get(&link, &cookie).await, house.press(&link, &cookie).await] {
            assert_eq!((again.status, again.header("location")), (303, "/console"));
        }
        let used = house.press(&link, "").await;
        assert!(used.status == 410 && used.text.contains("used in another browser"), "{}", used.text);
        assert!(house.get(&link, "").await.text.contains("This invitation was accepted"));
        assert_eq!(house.get("/console", &cookie).await.status, 200);
        assert_eq!(house.write("", &cookie, "hello").await, 202);
        assert!(house.feed(&Person::Guest(named("anna")), 1).await.contains("hello"));
        assert_eq!(house.feed(&Person::Owner, 1).await, "");
        let other = house.guest("anna").await;
        assert!(other != cookie && house.get("/console", &other).await.text.contains("hello"), "another device");
    }
}

#[tokio::test]
async fn what_is_no_invitation_lets_nobody_in() {
    let house = House::open(&PUBLIC);
    let link = house.invite("anna").await;
    let subject = "anna/0123456789abcdef0123456789abcdef";
    let sign = |purpose, at| format!("/console/invited/{}", house.app.links.sign(purpose, subject, at));
    let later = clock::now() + Duration::from_secs(60);
    let no_links = [
        sign(Purpose::Invitation, clock::now()),
        sign(Purpose::Invitation, later),
        sign(Purpose::Guest, later),
        sign(Purpose::Run, later),
        format!("{}A", link),
        "/console/invited/x".to_owned(),
    ];
    for link in no_links {
        for got in [house.get(&link, "").await, house.press(&link, "").await] {
            assert!(got.status == 410 && got.text.contains("does not count any more"), "{}", got.text);
            assert_eq!(got.header("set-cookie"), "");
        }
    }
    let cookie = house.guest("bo").await;
    let expired = house.app.links.sign(Purpose::Guest, "bo/x", clock::now());
    for bad in [format!("{cookie}A"), format!("textslash_person={expired}"), "textslash_person=.".to_owned()] {
        assert_eq!(house.get("/console/events", &bad).await.status, 401, "{bad}");
        assert_eq!(house.write("", &bad, "hi").await, 401, "{bad}");
    }
}

#[tokio::test]
async fn whoever_gave_the_token_can_sign_out_and_is_out_one_day_in_any_case() {
    let house = House::open(&PUBLIC);
    let cookie = house.owner().await;
    let page = house.get("/console", &cookie).await;
    assert!(page.status == 200 && page.text.contains("action=\"/console/leave\""), "{}", page.text);
    let left = house.post("/console/leave", &cookie).await;
    assert_eq!((left.status, left.cookie().as_str(), left.header("location")), (303, "textslash_person=", "/console"));
    let (_, held) = cookie.split_once('=').unwrap();
    let (ends, proof) = held.split_once('-').unwrap();
    let later = ends.parse::<u64>().unwrap() + 1;
    for held in [proof.to_owned(), format!("{later}-{proof}"), format!("0-{proof}"), "-".to_owned(), String::new()] {
        assert_eq!(house.get("/console", &format!("textslash_person={held}")).await.status, 401, "{held}");
    }
    let left = Timestamp(ends.parse().unwrap()).since(clock::now());
    assert!(left <= guests::STAY && left > guests::STAY - Duration::from_secs(60), "{left:?}");
    // Who looks on since then sees no more.
    assert!(SignedIn::Owner(Some(clock::now() + Duration::from_secs(60))).is_welcome(&house.app).await.unwrap());
    assert!(!SignedIn::Owner(Some(clock::now())).is_welcome(&house.app).await.unwrap());
}

#[tokio::test]
async fn an_uninvited_guest_is_refused_from_then_on() {
    let house = House::open(&PUBLIC);
    let (cookie, open) = (house.guest("anna").await, house.invite("anna").await);
    house.write("", &cookie, "hello").await;
    let signed_in = SignedIn::Guest(
        guests::Invited::of_cookie(&house.app.links, cookie.strip_prefix("textslash_person=").unwrap()).unwrap(),
    );
    let anna = Person::Guest(named("anna"));
    let (address, conversation) = (anna.address(1), house.conversation(&anna, 1));
    let chosen = Chosen { signed_in, number: 1, address, conversation };
    let place = house.app.streams.open(chosen.conversation.clone()).unwrap();
    let mut follow = Follow::new(Arc::clone(&house.app), chosen, 0, place);
    assert!(follow.next().await.unwrap().is_some(), "what was said is shown");
    guests::uninvite(&*house.app.store, &house.app.config.relay_secret, &named("anna")).await.unwrap();
    house.app.console.look();
    let ended = tokio::time::timeout(Duration::from_secs(10), follow.next()).await;
    assert!(ended.expect("a stream that was open ends").unwrap().is_none());
    let page = house.get("/console", &cookie).await;
    assert!(page.status == 401 && page.text.contains("Your invitation has ended"), "{}", page.text);
    for path in ["/console/events", "/console/files"] {
        assert_eq!(house.get(path, &cookie).await.status, 401, "{path}");
    }
    assert_eq!((house.write("", &cookie, "again").await, house.press(&open, "").await.status), (401, 410));
    let left = house.post("/console/leave", &cookie).await;
    assert_eq!(left.cookie(), "textslash_person=");
    let again = house.guest("anna").await;
    assert!(house.get("/console", &again).await.text.contains("hello"), "the conversation stays");
    assert_eq!(house.get("/console", &cookie).await.status, 401);
}

#[tokio::test]
async fn a_guest_reaches_nothing_of_anybody_else() {
    let house = House::open(&[PUBLIC[0], PUBLIC[1], ("ADMIN_TOKEN", SECRET)]);
    let (owner, anna, bo) = (house.owner().await, house.guest("anna").await, house.guest("bo").await);
    for (cookie, text) in [(&owner, "the owner's"), (&anna, "of anna"), (&bo, "of bo")] {
        assert_eq!(house.write("", cookie, text).await, 202);
    }
    house.post("/console/conversations", &owner).await;
    assert_eq!(house.get("/console?conversation=2", &owner).await.status, 200);
    assert_eq!(house.get("/console?conversation=2", &anna).await.status, 404, "only the owner has a second one");
    let page = house.get("/console", &anna).await.text;
    assert!(page.contains("of anna") && !page.contains("owner") && !page.contains("of bo"), "{page}");
    assert!(page.contains("Sign out"), "{page}");
    assert_eq!(house.get("/admin", &anna).await.status, 401);
    // What one was given to send is of no use to another.
    let kind = [("content-type", "application/octet-stream")];
    let upload = house.ask("POST", "/console/files", &owner, &kind, "a file".to_owned()).await.text;
    let id = serde_json::from_str::<serde_json::Value>(&upload).unwrap()["id"].clone();
    let body = json!({ "id": "m-9", "text": "x", "files": [{ "id": id, "name": "a" }] }).to_string();
    let json = [("content-type", "application/json")];
    assert_eq!(house.ask("POST", "/console/send", &anna, &json, body.clone()).await.status, 400);
    assert_eq!(house.ask("POST", "/console/send", &owner, &json, body).await.status, 202);
    // Whose a run is decides who may follow it.
    let of = |cookie: &str| {
        SignedIn::Guest(guests::Invited::of_cookie(&house.app.links, cookie.split_once('=').unwrap().1).unwrap())
    };
    let (is_anna, people) = (of(&anna), [Person::Owner, Person::Guest(named("anna")), Person::Guest(named("bo"))]);
    let has = people.map(|person| [1, 2].map(|number| is_anna.has(&house.app, &house.conversation(&person, number))));
    assert_eq!(has, [[false, false], [true, true], [false, false]]);
}
