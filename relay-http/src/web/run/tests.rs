use axum::body::to_bytes;
use relay_core::id::{BlobId, TreeHash};
use relay_core::machine::{Ending, LogEntry};
use relay_core::protocol::DiffStat;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn run() -> RunId {
    RunId::parse("c0ffee-1-7").unwrap()
}

fn entry(cursor: u64, what: LogWhat) -> Logged {
    Logged { cursor, at: NOW, entry: LogEntry::new(Some(run()), what) }
}

fn shown(what: LogWhat) -> String {
    row(&entry(1, what), NOW).into_string()
}

fn progress(number: u64) -> Logged {
    entry(number, LogWhat::Progress { text: format!("step {number}") })
}

async fn page_of(entries: &[Logged], is_latest: bool, standing: Standing) -> String {
    let (run, key, has_earlier) = (&run(), Some("a.b.c"), false);
    let shown = Shown { run, key, task: None, entries, has_earlier, is_latest, standing, cursor: 99, now: NOW };
    String::from_utf8(to_bytes(page(&shown).into_body(), 1 << 22).await.unwrap().to_vec()).unwrap()
}

#[test]
fn each_kind_of_entry_says_what_happened() {
    let blob = || BlobId::parse("b1").unwrap();
    let stat = DiffStat { files: 1, insertions: 20, deletions: 3 };
    for (what, told) in [
        (LogWhat::Asked { text: "make it *blue*".into() }, "make it <strong>blue</strong>"),
        (LogWhat::Said { text: "see `x`".into() }, "see <code>x</code>"),
        (LogWhat::Begun { task: "fix the bug".into() }, "fix the bug"),
        (LogWhat::Started { driver: "claude".into() }, "is up: claude"),
        (LogWhat::Progress { text: "reading".into() }, "reading"),
        (
            LogWhat::Picture { blob: blob(), caption: "Home".into(), document: false },
            "src=\"/images/b1\" loading=\"lazy\" alt=\"Home\"",
        ),
        (
            LogWhat::Picture { blob: blob(), caption: String::new(), document: true },
            "href=\"/images/b1\">A document</a>",
        ),
        (LogWhat::Inquiry { text: "Which?".into() }, "Which?"),
        (LogWhat::Changes { stat, tree: TreeHash::parse("aa11").unwrap() }, "<b>1 file</b>"),
        (LogWhat::Decided { decision: Decision::Approve }, "approved; it is being published"),
        (LogWhat::Ended { ending: Ending::Pushed { branch: "b/1".into() } }, "What was approved is branch b/1."),
        (LogWhat::Operator { action: "cancel".into() }, "cancel"),
        (LogWhat::Unknown, "only a newer relay"),
    ] {
        let row = shown(what.clone());
        assert!(row.contains(told) && row.contains("data-cursor=\"1\""), "{what:?}: {row}");
        assert!(row.contains("datetime=\"2027-01-15T08:00:00Z\"") && row.contains(">08:00 UTC</time>"), "{row}");
    }
    assert!(
        row(&entry(1, LogWhat::Unknown), Timestamp(NOW.0 + 86_400_000)).into_string().contains(">15 Jan 08:00 UTC<")
    );
}

#[test]
fn a_pull_request_can_be_opened_and_nothing_else() {
    let ended = |url: &str| shown(LogWhat::Ended { ending: Ending::PullRequest { url: url.into() } });
    assert!(ended("https://h.example/pull/1?a=1&b").contains("href=\"https://h.example/pull/1?a=1&amp;b\""));
    for url in ["javascript:alert(1)", "data:text/html,x", "/console", ""] {
        assert!(!ended(url).contains("href"), "{url}");
    }
    assert!(!ended("https://h.example/\r\ndata: x").contains('\r'));
}

#[test]
fn nothing_that_was_written_acts_or_hides() {
    let evil = "</li></ol><script>a</script>\"' onerror=x \u{202e}\x1b[1m\r";
    let blob = || BlobId::parse("b1").unwrap();
    for what in [
        LogWhat::Asked { text: evil.into() },
        LogWhat::Begun { task: evil.into() },
        LogWhat::Started { driver: evil.into() },
        LogWhat::Picture { blob: blob(), caption: evil.into(), document: false },
        LogWhat::Picture { blob: blob(), caption: evil.into(), document: true },
        LogWhat::Operator { action: evil.into() },
        LogWhat::Ended { ending: Ending::Parked { branch: evil.into() } },
        LogWhat::Ended { ending: Ending::PullRequest { url: format!("https://h/{evil}") } },
    ] {
        let html = fragment(&entry(1, what.clone()), NOW);
        assert_eq!((html.matches("<script").count(), html.matches("</li>").count()), (0, 1), "{what:?}: {html}");
        assert!(!html.contains(['\u{202e}', '\x1b', '\r']), "{what:?}: {html}");
    }
}

#[tokio::test]
async fn a_page_says_how_it_stands_and_goes_on_from_where_it_ends() {
    let entries = [progress(4), progress(9)];
    let page = page_of(&entries, true, Standing::AtWork).await;
    assert!(
        page.contains("data-after=\"99\"") && page.contains("At work") && page.contains("href=\"?key=a.b.c&amp;\""),
        "{page}"
    );
    assert!(page.contains("href=\"?key=a.b.c&amp;before=4\" hidden"), "there are none before: {page}");
    let over = page_of(&entries, true, Standing::Ended(Ending::Answered)).await;
    assert!(!over.contains("data-after") && !over.contains("Load it again"), "{over}");
    let earlier = page_of(&entries, false, Standing::AtWork).await;
    assert!(!earlier.contains("data-after") && earlier.contains(">Latest</a>"), "{earlier}");
    assert!(page_of(&[], true, Standing::Over).await.contains("Nothing is kept of it"));
}

#[tokio::test]
async fn however_much_was_said_a_page_stays_small() {
    let short: Vec<Logged> = (1..=ROWS_MAX as u64 + 5).map(progress).collect();
    let (rows, left_out) = rows(&short, NOW);
    assert!(rows.len() <= ROWS_MAX && rows.len() + left_out == short.len());
    let said = |number| entry(number, LogWhat::Said { text: "é \"quoted\" ".repeat(180) });
    let long: Vec<Logged> = (1..=100).map(said).collect();
    let page = page_of(&long, true, Standing::AtWork).await;
    assert!(page.len() < 60_000, "{} bytes", page.len());
    let first = page.split("data-cursor=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(page.contains(&format!("before={first}\">Earlier")), "what is left out comes before: {page}");
    assert!(page.contains("data-cursor=\"100\""), "the latest is there");
}

#[test]
fn how_it_stands_is_what_was_told_last() {
    let ended = Standing::Ended(Ending::Cancelled);
    for (told, is_over, standing) in [
        (None, false, Standing::AtWork),
        (None, true, Standing::Over),
        (Some(Standing::Waits), false, Standing::Waits),
        (Some(Standing::Waits), true, Standing::Over),
        (Some(ended.clone()), true, ended.clone()),
        (Some(ended.clone()), false, ended),
    ] {
        assert_eq!(Standing::known(told.clone(), is_over), standing, "{told:?}");
    }
    assert_eq!(Standing::told_by(&LogWhat::Said { text: "x".into() }), None);
    assert!(!fragment(&progress(1), NOW).contains("data-over") && fragment(&progress(1), NOW).contains("At work"));
    assert!(fragment(&entry(1, LogWhat::Ended { ending: Ending::Failed }), NOW).contains("data-over"));
}
