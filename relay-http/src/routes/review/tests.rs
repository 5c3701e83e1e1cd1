//! The routes over a store with a review in it that was made by hand.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use relay_core::id::{Address, ChannelKind, EffectSeq, MessageId, RunId, TreeHash};
use relay_core::machine::conversation::Past;
use relay_core::machine::{Content, Conversation, Ending, Message, Pending, Phase};
use relay_core::protocol::DiffStat;
use relay_core::protocol::review::{PartStart, REVIEW_CONTENT_TYPE, ReviewChange, ReviewFile, ReviewPart, Row};
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Blob, Commit, Committed, Ingest, Ingested, Store};
use relay_core::telemetry::Identity;
use relay_core::telemetry::metrics::Metrics;
use relay_core::testing::giving_back;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::app::{Holding, Kept};
use crate::config::Config;
use crate::router::router;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
const OTHER_TREE: &str = "5b825dc642cb6eb9a060e54bf8d69288fbee4904";
const PNG: &[u8] = b"\x89PNG and so on";

/// A conversation of which run 7 made a diff, and what the page shows of that.
struct Reviewed {
    app: Arc<App>,
    router: Router,
    conversation: Conversation,
    turns: mpsc::Receiver<Holding>,
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

    /// What the form of this page sends, but for the verdict.
    fn hidden(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let value = self.text.split(&mark).nth(1).unwrap_or_else(|| panic!("no {name} in {}", self.text));
        value.split('"').next().unwrap().to_owned()
    }
}

impl Reviewed {
    /// With the diff waiting for its answer.
    async fn open() -> Self {
        Self::over(|conversation| conversation.phase = Phase::AwaitingApproval(waiting(conversation, 7, TREE))).await
    }

    /// With the conversation as `change` makes it.
    async fn over(change: impl FnOnce(&mut Conversation)) -> Self {
        let settings =
            HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", "http://127.0.0.1:9")]);
        let (room, turns) = mpsc::channel(8);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
        let app = App::new(Config::read(&settings).unwrap(), Metrics::new(&Identity::default()), store, room).unwrap();
        let app = Arc::new(app);
        let from = Address { channel: ChannelKind::Console, name: "console:main".to_owned() };
        let message = Message::new(MessageId::parse("m1").unwrap(), from.clone(), Content::Text { text: "hi".into() });
        let event = Event::Message(message);
        let ingest = Ingest {
            conversation: app.conversation(&from),
            id: event.id().unwrap(),
            event,
            node: clock::node(),
            nonce: clock::nonce(),
            now: clock::now(),
        };
        let Ingested::Held(held) = app.store.ingest(ingest).await.unwrap() else { panic!("it is new") };
        let mut conversation = held.conversation.clone();
        change(&mut conversation);
        let commit = Commit { conversation: conversation.clone(), ..giving_back(&held, clock::nonce(), clock::now()) };
        assert!(matches!(app.store.commit(commit).await.unwrap(), Committed::Released));
        let reviewed = Self { router: router(Arc::clone(&app)), app, conversation, turns };
        reviewed.keep_review().await;
        reviewed
    }

    fn run(&self) -> RunId {
        self.conversation.run_id(7)
    }

    fn link(&self) -> String {
        self.link_until(clock::now() + Duration::from_secs(60))
    }

    fn link_until(&self, expires_at: Timestamp) -> String {
        let url = self.app.review_url(&self.run(), &TreeHash::parse(TREE).unwrap(), expires_at);
        url.path().to_owned()
    }

    async fn keep_review(&self) {
        let rows = rows();
        let (first, second) = rows.split_at(600);
        let index = ReviewIndex {
            stat: DiffStat { files: 3, insertions: 1_000, deletions: 1 },
            files: files(),
            rows: u32::try_from(rows.len()).unwrap(),
            parts: vec![PartStart { part: 1, row: 0 }, PartStart { part: 2, row: 600 }],
            cut: false,
        };
        self.keep(0, REVIEW_CONTENT_TYPE, serde_json::to_vec(&index).unwrap()).await;
        for (part, rows) in [(1, first), (2, second)] {
            let part_of = ReviewPart { rows: rows.to_vec() };
            self.keep(part, REVIEW_CONTENT_TYPE, serde_json::to_vec(&part_of).unwrap()).await;
        }
        self.keep(3, "image/png", PNG.to_vec()).await;
    }

    async fn keep(&self, part: u32, content_type: &str, bytes: Vec<u8>) {
        let (run, tree) = (self.run(), TreeHash::parse(TREE).unwrap());
        let id = self.app.blob_id(Kept::Review { run: &run, tree: &tree, part });
        let blob = Blob { content_type: content_type.to_owned(), bytes };
        self.app.store.put_blob(&id, blob, clock::now() + Duration::from_secs(60)).await.unwrap();
    }

    async fn get(&self, path: &str) -> Got {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// What a browser does with the form of `page`, with these fields and headers.
    async fn post(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Got {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::from(body)).unwrap()).await
    }

    /// Press a button of the page as it was when it was opened.
    async fn press(&self, page: &Got, verdict: &str, text: &str) -> Got {
        let (tree, form) = (page.hidden("tree"), page.hidden("form"));
        let fields = [("verdict", verdict), ("tree", &tree), ("form", &form), ("text", text)];
        self.post(&self.link_of(page), &fields, &[("sec-fetch-site", "same-origin")]).await
    }

    fn link_of(&self, page: &Got) -> String {
        let signed = page.text.split("data-signed=\"").nth(1).unwrap().split('"').next().unwrap();
        format!("/r/{signed}")
    }

    async fn ask(&self, request: Request<Body>) -> Got {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8_lossy(&to_bytes(body, 1 << 22).await.unwrap()).into_owned();
        Got { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    /// The verdict that was taken in, if any was.
    fn taken(&mut self) -> Option<(RunId, String, Verdict)> {
        let holding = self.turns.try_recv().ok()?;
        match holding.held.inbox.into_iter().next()? {
            Event::Reviewed { run, tree, verdict, .. } => Some((run, tree.as_str().to_owned(), verdict)),
            other => panic!("{other:?}"),
        }
    }
}

fn waiting(conversation: &Conversation, run: u64, tree: &str) -> Pending {
    Pending {
        run: conversation.run_id(run),
        tree: TreeHash::parse(tree).unwrap(),
        parts: vec![EffectSeq(1)],
        untaken: Vec::new(),
        shown: true,
        shown_at: clock::now(),
        lost: false,
        parking_failed: false,
        page_used: false,
    }
}

const HOSTILE: &str = "</td><script>alert(1)</script>\u{1b}[31m\u{202e}\u{0}\"'";

fn files() -> Vec<ReviewFile> {
    let file = |path: &str, row, rows| ReviewFile {
        path: path.to_owned(),
        from: None,
        change: ReviewChange::Modified,
        notes: vec![],
        insertions: rows,
        deletions: 0,
        row,
        rows,
        before: None,
        after: None,
    };
    let mut picture = file("logo.png", 4, 0);
    (picture.after, picture.change, picture.notes) =
        (Some(3), ReviewChange::Added, vec!["binary, 14 bytes".to_owned()]);
    vec![file(&format!("src/{HOSTILE}.rs"), 0, 4), picture, file("data.txt", 4, 1_000)]
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::Hunk { old: 9, new: 9, heading: format!("fn {HOSTILE}") },
        Row::Context { old: 1, new: 1, text: "let kept = 1;".to_owned() },
        Row::Removed { old: 2, text: "let count = 1;".to_owned() },
        Row::Added { new: 2, text: format!("let count = 2; // {HOSTILE}") },
    ];
    rows.extend((0..1_000).map(|number| Row::Added { new: number + 1, text: format!("line {number}.") }));
    rows
}

#[tokio::test]
async fn the_page_shows_the_diff_to_whoever_has_the_link_and_to_nobody_else() {
    let reviewed = Reviewed::open().await;
    let page = reviewed.get(&reviewed.link()).await;
    assert_eq!(page.status, 200, "{}", page.text);
    for shown in ["3 files", "+1,000", "Run 7", "data.txt", "line 0.", "Approve", "Reject", "Ask for changes", "new"] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert_eq!(page.hidden("tree"), TREE);
    for (name, value) in
        [("cache-control", "no-store"), ("referrer-policy", "no-referrer"), ("x-robots-tag", "noindex")]
    {
        assert_eq!(page.header(name), value);
    }
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    assert!(!page.text.contains(" style="), "the policy would not have it");

    let expired = reviewed.get(&reviewed.link_until(clock::now())).await;
    assert_eq!((expired.status, expired.text.contains("This link has expired")), (410, true));
    let mut tampered = reviewed.link();
    tampered.replace_range(5..6, if tampered.as_bytes()[5] == b'A' { "B" } else { "A" });
    for path in [tampered.as_str(), "/r/x", "/r/a.b.c", "/r/a.0.AAAA"] {
        let refused = reviewed.get(path).await;
        assert_eq!((refused.status, refused.text.contains("This link is not valid")), (404, true), "{path}");
    }
    for refused in [expired, reviewed.get(&tampered).await] {
        assert!(!refused.text.contains("Run 7") && !refused.text.contains("data.txt") && !refused.text.contains(TREE));
    }
}

#[tokio::test]
async fn a_link_of_another_purpose_opens_nothing() {
    let reviewed = Reviewed::open().await;
    let until = clock::now() + Duration::from_secs(60);
    let subject = format!("{}/{TREE}", reviewed.run());
    for purpose in [Purpose::Run, Purpose::Form] {
        let signed = reviewed.app.links.sign(purpose, &subject, until);
        for path in ["", "/rows", "/state", "/parts/3"] {
            assert_eq!(reviewed.get(&format!("/r/{signed}{path}")).await.status, 404, "{purpose:?} {path}");
        }
    }
}

#[tokio::test]
async fn what_strangers_wrote_is_shown_as_text() {
    let reviewed = Reviewed::open().await;
    let page = reviewed.get(&reviewed.link()).await.text;
    assert_eq!(page.matches("<script").count(), 1, "our own: {page}");
    for acting in ['\u{1b}', '\u{202e}', '\0'] {
        assert!(!page.contains(acting), "{acting:?}");
    }
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 4, "name twice, heading, line: {page}");
    assert!(page.contains("<b class=\"sign\">U+202E</b>") && page.contains(">^[</b>"), "{page}");
}

#[tokio::test]
async fn a_long_diff_comes_page_by_page_and_no_row_is_missing_or_twice() {
    let reviewed = Reviewed::open().await;
    let link = reviewed.link();
    let mut seen: Vec<String> = Vec::new();
    let mut path = link.clone();
    for _ in 0..10 {
        let page = reviewed.get(&path).await.text;
        let numbers = page.split(">line ").skip(1).map(|rest| rest.split('.').next().unwrap().to_owned());
        let before = seen.len();
        seen.extend(numbers);
        assert!(seen.len() - before <= 400, "one page is bounded");
        let Some(rest) = page.split("data-from=\"").nth(1) else { break };
        path = format!("{link}?row={}", rest.split('"').next().unwrap());
    }
    assert_eq!(seen, (0..1_000).map(|number| number.to_string()).collect::<Vec<_>>());
    // What a script asks for is the same, without what is around it.
    let fragment = reviewed.get(&format!("{link}/rows?row=400")).await;
    assert!(fragment.text.starts_with("<details") && fragment.text.contains("line 396."), "{}", fragment.text);
    assert!(!fragment.text.contains("line 395.") && fragment.text.contains("data-from=\"800\""));
    assert_eq!(fragment.header("cache-control"), "no-store");
    // Far beyond the end there is nothing, and nothing breaks.
    assert_eq!(reviewed.get(&format!("{link}?row=4294967295")).await.status, 200);
}

#[tokio::test]
async fn pictures_are_served_and_nothing_else_is() {
    let reviewed = Reviewed::open().await;
    let link = reviewed.link();
    let picture = reviewed.get(&format!("{link}/parts/3")).await;
    assert_eq!((picture.status, picture.header("content-type")), (200, "image/png"));
    assert_eq!(picture.header("x-content-type-options"), "nosniff");
    assert!(reviewed.get(&link).await.text.contains("/parts/3\""));
    for part in ["0", "1", "4", "99", "-1", "x"] {
        assert!([400, 404].contains(&reviewed.get(&format!("{link}/parts/{part}")).await.status), "{part}");
    }
    // A VM can't have a page served in a picture's place.
    reviewed.keep(3, "text/html", b"<script>alert(1)</script>".to_vec()).await;
    assert_eq!(reviewed.get(&format!("{link}/parts/3")).await.status, 404);
    reviewed.keep(3, "image/svg+xml", b"<svg/>".to_vec()).await;
    assert_eq!(reviewed.get(&format!("{link}/parts/3")).await.status, 404);
}

#[tokio::test]
async fn each_button_is_one_event_about_the_shown_tree() {
    let cases = [
        ("approve", "", Verdict::Approve),
        ("reject", "", Verdict::Reject),
        ("changes", " make it\r\nblue ", Verdict::Changes { text: "make it\nblue".to_owned() }),
    ];
    for (button, text, verdict) in cases {
        let mut reviewed = Reviewed::open().await;
        let page = reviewed.get(&reviewed.link()).await;
        assert!(reviewed.taken().is_none(), "reading does nothing");
        let sent = reviewed.press(&page, button, text).await;
        let back = format!("{}?answered", reviewed.link_of(&page).trim_start_matches("/r/"));
        assert_eq!((sent.status, sent.header("location")), (303, back.as_str()), "{}", sent.text);
        assert_eq!(reviewed.taken(), Some((reviewed.run(), TREE.to_owned(), verdict)));
        let after = reviewed.get(&format!("/r/{back}")).await;
        assert!(
            after.text.contains("Your answer is in") && !after.text.contains("value=\"approve\""),
            "{}",
            after.text
        );
    }
}

#[tokio::test]
async fn of_two_tabs_the_first_answer_counts_and_the_second_is_told_so() {
    let mut reviewed = Reviewed::open().await;
    let (first, second) = (reviewed.get(&reviewed.link()).await, reviewed.get(&reviewed.link()).await);
    assert_eq!(reviewed.press(&first, "reject", "").await.status, 303);
    let late = reviewed.press(&second, "approve", "").await;
    assert_eq!((late.status, late.text.contains("This answer was not taken")), (409, true), "{}", late.text);
    assert!(matches!(reviewed.taken(), Some((_, _, Verdict::Reject))));
    assert!(reviewed.taken().is_none());
}

#[tokio::test]
async fn what_was_written_and_not_taken_is_given_back() {
    let reviewed = Reviewed::over(|conversation| conversation.phase = Phase::Idle).await;
    let link = reviewed.link();
    let ended = reviewed.link_until(clock::now());
    for (link, status) in [(&link, 409), (&ended, 410), (&"/r/x".to_owned(), 404)] {
        let signed = link.trim_start_matches("/r/");
        let form = reviewed.app.links.sign(Purpose::Form, signed, form_expires_at());
        let fields = [("verdict", "changes"), ("tree", TREE), ("form", &form), ("text", "make it <blue>")];
        let late = reviewed.post(link, &fields, &[("sec-fetch-site", "same-origin")]).await;
        assert_eq!(late.status, status, "{link}");
        assert!(late.text.contains("readonly>make it &lt;blue&gt;</textarea>"), "{link}: {}", late.text);
        let elsewhere = reviewed.post(link, &fields, &[("sec-fetch-site", "cross-site")]).await;
        assert!(!elsewhere.text.contains("make it"), "{link}: another site's words are not repeated");
    }
}

#[tokio::test]
async fn a_form_from_elsewhere_does_nothing() {
    let mut reviewed = Reviewed::open().await;
    let link = reviewed.link();
    let page = reviewed.get(&link).await;
    let form = page.hidden("form");
    let other = reviewed.get(&reviewed.link_until(clock::now() + Duration::from_secs(90))).await.hidden("form");
    let right = [("verdict", "approve"), ("tree", TREE), ("form", form.as_str())];
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://evil.example"), ("host", "relay.example")],
        &[("origin", "https://relay.example.evil"), ("host", "relay.example")],
    ] {
        let refused = reviewed.post(&link, &right, headers).await;
        assert_eq!((refused.status, refused.text.contains("Nothing was done")), (403, true), "{headers:?}");
    }
    for form in ["", "x", other.as_str(), link.trim_start_matches("/r/")] {
        let fields = [("verdict", "approve"), ("tree", TREE), ("form", form)];
        assert_eq!(reviewed.post(&link, &fields, &[("sec-fetch-site", "same-origin")]).await.status, 403, "{form}");
    }
    assert!(reviewed.taken().is_none());
    // A browser that does not say where a form comes from, or names us, has the page's own form.
    let named = [("origin", "http://relay.example"), ("host", "relay.example")];
    assert_eq!(reviewed.post(&link, &right, &named).await.status, 303);
}

#[tokio::test]
async fn what_the_page_does_not_send_is_refused_and_does_nothing() {
    let mut reviewed = Reviewed::open().await;
    let page = reviewed.get(&reviewed.link()).await;
    for (button, text, status) in [
        ("changes", " \n ", 422),
        ("changes", &"x".repeat(VERDICT_CHARS_MAX + 1), 422),
        ("publish", "", 400),
        ("", "", 400),
    ] {
        let refused = reviewed.press(&page, button, text).await;
        assert_eq!(refused.status, status, "{button}");
    }
    let draft = reviewed.press(&page, "changes", &format!("<b>{}", "x".repeat(VERDICT_CHARS_MAX))).await;
    assert!(draft.text.contains("&lt;b&gt;xxx"), "what was written is not lost");
    let form = page.hidden("form");
    let stale = [("verdict", "approve"), ("tree", OTHER_TREE), ("form", form.as_str())];
    let refused = reviewed.post(&reviewed.link_of(&page), &stale, &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!((refused.status, refused.text.contains("The work has changed since")), (409, true));
    let huge = "x".repeat(200_000);
    assert_eq!(reviewed.press(&page, "changes", &huge).await.status, 400);
    assert!(reviewed.taken().is_none());
}

#[tokio::test]
async fn a_diff_that_no_longer_waits_has_no_buttons_and_says_why() {
    type Change = Box<dyn FnOnce(&mut Conversation)>;
    let past = |ending: Ending| -> Change {
        Box::new(move |conversation| conversation.past.push_back(Past { run: conversation.run_id(7), ending }))
    };
    let pending = |run: u64, tree: &'static str| -> Change {
        Box::new(move |conversation| {
            conversation.phase = Phase::AwaitingApproval(waiting(conversation, run, tree));
        })
    };
    let url = "https://github.com/octo/demo/pull/7".to_owned();
    let cases: Vec<(Change, &str, &str)> = vec![
        (pending(7, OTHER_TREE), "superseded", "The work has changed since"),
        (pending(8, TREE), "superseded", "The work has changed since"),
        (past(Ending::PullRequest { url }), "approved", "href=\"https://github.com/octo/demo/pull/7\""),
        (past(Ending::Pushed { branch: "textslash/7".to_owned() }), "approved", "textslash/7"),
        (past(Ending::RolledBack), "rejected", "put back as it was"),
        (past(Ending::Parked { branch: "textslash/7".to_owned() }), "parked", "resume 7"),
        (past(Ending::Cancelled), "cancelled", "was stopped"),
        (Box::new(|_| ()), "over", "No longer to be decided on"),
    ];
    for (change, state, says) in cases {
        let mut reviewed = Reviewed::over(change).await;
        let page = reviewed.get(&reviewed.link()).await;
        assert_eq!((page.status, page.text.contains(says)), (200, true), "{state}: {}", page.text);
        assert!(page.text.contains("line 0.") && !page.text.contains("value=\"approve\""), "{state}: {}", page.text);
        let told: serde_json::Value =
            serde_json::from_str(&reviewed.get(&format!("{}/state", reviewed.link())).await.text).unwrap();
        assert_eq!((told["state"].as_str(), told["passing"].as_bool()), (Some(state), Some(false)), "{told}");
        // Pressed on a page that was opened before.
        let link = reviewed.link();
        let form = reviewed.app.links.sign(Purpose::Form, link.trim_start_matches("/r/"), form_expires_at());
        let fields = [("verdict", "approve"), ("tree", TREE), ("form", form.as_str())];
        let late = reviewed.post(&link, &fields, &[("sec-fetch-site", "same-origin")]).await;
        assert_eq!((late.status, late.text.contains(says)), (409, true), "{state}: {}", late.text);
        assert!(reviewed.taken().is_none());
    }
}

#[tokio::test]
async fn a_review_that_is_not_kept_is_told_so() {
    let reviewed = Reviewed::open().await;
    reviewed.keep(2, "text/plain", Vec::new()).await;
    assert_eq!(reviewed.get(&reviewed.link()).await.status, 200, "the first page reads no part that it does not show");
    let cut = reviewed.get(&format!("{}?row=600", reviewed.link())).await;
    assert_eq!((cut.status, cut.text.contains("is not kept here any more")), (200, true), "{}", cut.text);
    reviewed.keep(0, REVIEW_CONTENT_TYPE, b"{\"newer\":true}".to_vec()).await;
    let gone = reviewed.get(&reviewed.link()).await;
    assert_eq!((gone.status, gone.text.contains("This diff is not kept here any more")), (404, true));
}
