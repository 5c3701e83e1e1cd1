//! The routes over a store with a run in it that was made by hand.

use std::collections::HashMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use relay_core::id::{Address, ChannelKind, EventId};
use relay_core::machine::{Ending, Event, LogEntry, LogWhat, Phase};
use relay_core::protocol::Task;
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Commit, Committed, Ingest, Ingested, Store};
use relay_core::telemetry::Identity;
use relay_core::telemetry::metrics::Metrics;
use relay_core::time::Timestamp;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::config::Config;
use crate::router::router;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// Far more than one page has room for.
const STEPS: u64 = 900;

/// A run of somebody on WhatsApp with many steps, between those of another run.
struct Looked {
    app: Arc<App>,
    router: Router,
    run: RunId,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Looked {
    async fn at(is_over: bool) -> Self {
        let settings =
            HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", "http://127.0.0.1:9")]);
        let (room, _) = mpsc::channel(8);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
        let app = App::new(Config::read(&settings).unwrap(), Metrics::new(&Identity::default()), store, room).unwrap();
        let app = Arc::new(app);
        let someone = Address { channel: ChannelKind::Twilio, name: "someone".to_owned() };
        let ingest = Ingest {
            conversation: app.conversation(&someone),
            id: EventId::parse("one").unwrap(),
            event: Event::Garbled,
            node: clock::node(),
            nonce: clock::nonce(),
            now: clock::now(),
        };
        let Ingested::Held(held) = app.store.ingest(ingest).await.unwrap() else { panic!("it is new") };
        let mut conversation = held.conversation;
        (conversation.runs, conversation.origin) = (2, Timestamp(1_000));
        let (run, other) = (conversation.run_id(2), conversation.run_id(1));
        let (task, since) = (Task::prompt("x"), clock::now());
        conversation.phase = match is_over {
            true => Phase::Idle,
            false => Phase::Working { run: run.clone(), task, since, quiet: false },
        };
        let of_other = |text: &str| LogEntry::new(Some(other.clone()), LogWhat::Progress { text: text.to_owned() });
        let step = |number| LogEntry::new(Some(run.clone()), LogWhat::Progress { text: format!("step {number};") });
        let begun = LogEntry::new(Some(run.clone()), LogWhat::Begun { task: "count <b>".to_owned() });
        let mut log = vec![of_other("not this"), begun];
        log.extend((1..=STEPS).map(step));
        if is_over {
            log.push(LogEntry::new(Some(run.clone()), LogWhat::Ended { ending: Ending::Answered }));
        }
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
            conversation,
            activity: None,
            deadline: None,
            release: true,
        };
        assert!(matches!(app.store.commit(commit).await.unwrap(), Committed::Released));
        Self { router: router(Arc::clone(&app)), app, run }
    }

    fn key(&self) -> String {
        self.signed(Purpose::Run, &self.run, 60_000)
    }

    fn signed(&self, purpose: Purpose, run: &RunId, for_ms: i64) -> String {
        let at = clock::now().as_millis().saturating_add_signed(for_ms);
        self.app.links.sign(purpose, run.as_str(), Timestamp(at))
    }

    async fn get(&self, query: &str, accept: &str) -> Got {
        self.call(&format!("/runs/{}{query}", self.run), &[("accept", accept)]).await
    }

    async fn call(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 22).await.unwrap().to_vec()).unwrap();
        Got { status: parts.status.as_u16(), headers: parts.headers, text }
    }
}

/// The numbers of the steps on a page.
fn steps(page: &str) -> Vec<u64> {
    page.split("step ").skip(1).filter_map(|rest| rest.split(';').next()?.parse().ok()).collect()
}

#[tokio::test]
async fn a_browser_is_shown_the_latest_and_gets_to_all_that_came_before() {
    let looked = Looked::at(true).await;
    let mut query = format!("?key={}", looked.key());
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let got = looked.get(&query, BROWSER).await;
        assert_eq!((got.status, &got.headers["cache-control"]), (200, &header::HeaderValue::from_static("no-store")));
        assert!(got.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; "));
        assert!(got.text.len() < 60_000, "{} bytes", got.text.len());
        assert!(got.text.contains("<h1 class=\"wrap\">count &lt;b&gt;</h1>") && got.text.contains("Answered"));
        assert!(!got.text.contains("not this"));
        seen.splice(0..0, steps(&got.text));
        pages += 1;
        let Some(earlier) = got.text.split("id=\"earlier\" href=\"").nth(1) else { panic!("{}", got.text) };
        let (address, rest) = earlier.split_once('"').unwrap();
        query = address.replace("&amp;", "&");
        if rest.starts_with(" hidden") {
            break;
        }
    }
    assert_eq!(seen, (1..=STEPS).collect::<Vec<_>>(), "no gap and no double in {pages} pages");
    assert!(pages > 3);
}

#[tokio::test]
async fn what_comes_after_the_page_is_sent_as_rows_of_it() {
    let looked = Looked::at(true).await;
    let key = looked.key();
    let path = format!("/runs/{}/rows?key={key}&after={}", looked.run, STEPS - 1);
    let stream = looked.call(&path, &[("accept", "text/event-stream"), ("accept-encoding", "gzip")]).await;
    assert_eq!(
        (stream.status, stream.headers.get("content-encoding")),
        (200, None),
        "it is not held back to be packed"
    );
    assert!(stream.text.contains("data: <li class=\"step\"") && stream.text.contains("data-over"), "{}", stream.text);
    assert!(
        stream.text.trim_end().ends_with(&format!("event: end\ndata: {{\"cursor\":{}}}", STEPS + 3)),
        "{}",
        stream.text
    );
    let again = [("accept", "text/event-stream"), ("last-event-id", &(STEPS + 2).to_string())];
    let rest = looked.call(&path, &again).await;
    assert_eq!(rest.text.matches("<li").count(), 1, "what it has is not sent again: {}", rest.text);
}

#[tokio::test]
async fn a_link_that_is_not_good_is_explained_to_people_and_nothing_to_programs() {
    let looked = Looked::at(false).await;
    let other = RunId::parse(format!("{}x-1-2", looked.run.conversation().unwrap())).unwrap();
    let never = RunId::parse(looked.run.as_str().replace("-2", "-3")).unwrap();
    let key = looked.key();
    for (query, status, told) in [
        (String::new(), 404, "This link is not valid"),
        ("?key=".to_owned(), 404, "This link is not valid"),
        (format!("?key={key}x"), 404, "This link is not valid"),
        (format!("?key={}", looked.signed(Purpose::Review, &looked.run, 60_000)), 404, "This link is not valid"),
        (format!("?key={}", looked.signed(Purpose::Run, &other, 60_000)), 404, "This link is not valid"),
        (format!("?key={}", looked.signed(Purpose::Run, &looked.run, -1)), 410, "This link has expired"),
    ] {
        let page = looked.get(&query, BROWSER).await;
        assert!(page.status == status && page.text.contains(told), "{query}: {}", page.text);
        assert_eq!(page.headers["cache-control"], "no-store");
        for accept in ["application/json", "text/event-stream", "*/*"] {
            let got = looked.get(&query, accept).await;
            assert_eq!((got.status, got.text.as_str()), (404, "not found\n"), "{query} {accept}");
        }
        let rows = looked.call(&format!("/runs/{}/rows{query}", looked.run), &[("accept", "text/event-stream")]).await;
        assert_eq!(rows.status, 404);
    }
    let path = format!("/runs/{never}?key={}", looked.signed(Purpose::Run, &never, 60_000));
    let gone = looked.call(&path, &[("accept", BROWSER)]).await;
    assert!(gone.status == 404 && gone.text.contains("Nothing is known of this run"), "{}", gone.text);
    for query in ["after=x", "before=-1", "wait_ms=soon", "after=99999999999999999999"] {
        let page = looked.get(&format!("?key={key}&{query}"), BROWSER).await;
        assert!(page.status == 400 && page.text.contains("This address is not understood"), "{query}: {}", page.text);
        let got = looked.get(&format!("?key={key}&{query}"), "*/*").await;
        assert_eq!((got.status, got.text.as_str()), (400, "the query is not understood\n"));
    }
}

#[tokio::test]
async fn a_page_of_a_run_that_goes_on_can_be_reloaded_without_a_script() {
    let looked = Looked::at(false).await;
    let page = looked.get(&format!("?key={}", looked.key()), BROWSER).await;
    assert!(page.text.contains("At work") && page.text.contains("Load it again"), "{}", page.text);
    assert!(page.text.contains(&format!("data-after=\"{}\"", STEPS + 2)), "{}", page.text);
}
