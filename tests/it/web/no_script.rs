//! Pages in a browser that runs no script: what they say can be read, and what they offer can be done.

mod reader;

use system_tests::stack::{BOUND, Plan, Stack};

use self::reader::Reader;
use super::admin::TOKEN;
use super::review::{Waiting, samples};
use crate::common::shown_tree;
use crate::pull_request::{self, github, with_github};

/// The address in a message, on a page of this kind.
fn address<'a>(told: &'a str, kind: &str) -> &'a str {
    told.split_whitespace().find(|word| word.contains(kind)).unwrap_or_else(|| panic!("no address of {kind} in {told}"))
}

#[tokio::test]
async fn a_diff_is_read_and_approved_and_its_tree_is_the_pull_request() {
    let github = github().await;
    let stack = Stack::start(with_github(&github, Some(pull_request::TOKEN))).await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    let asked = console.wait_for("*approve* opens", BOUND).await;
    let mut reader = Reader::opens(address(asked["text"].as_str().expect("a text"), "/r/")).await;
    reader.reads("1 file changed").await;
    reader.reads("add a line to hello.txt").await;
    reader.look("review-no-script-360").await;
    reader.press("Approve", &[]).await;
    reader.look("review-no-script-360-answered").await;
    reader.comes_to_read("Open the pull request", "Look again").await;
    reader.look("review-no-script-360-approved").await;
    let pulls = github.pulls();
    assert_eq!(pulls.len(), 1, "{pulls:#?}");
    assert_eq!(github.tree("octo/demo", &pulls[0].head).await, Some(shown_tree(&console.entries())));
    assert!(!reader.has_button("Approve").await, "nothing more to be pressed");

    // What happened is on the page of the run.
    let begun = console.wait_for("/runs/", BOUND).await;
    reader.open(address(begun["text"].as_str().expect("a text"), "/runs/")).await;
    reader.reads("A pull request is open").await;
    reader.reads("add a line to hello.txt").await;
    reader.look("run-no-script-360-approved").await;
}

#[tokio::test]
async fn a_long_diff_is_read_page_by_page_forwards_and_backwards() {
    const ROWS: usize = 1_000;
    let waiting = Waiting::new(samples::long(ROWS)).await;
    let reader = Reader::opens(&waiting.url()).await;
    let shown =
        |page: &str| -> Vec<usize> { (0..ROWS).filter(|row| page.contains(&format!("\"row {row}\""))).collect() };
    let mut pages = vec![shown(&reader.shown().await)];
    while reader.has_link("Go on").await {
        assert!(pages.len() < ROWS / 100, "there is no end of pages");
        reader.follow("Go on").await;
        pages.push(shown(&reader.shown().await));
    }
    assert!(pages.len() > 1);
    assert_eq!(pages.concat(), (0..ROWS).collect::<Vec<_>>(), "no gap and no double");
    for page in pages.iter().rev().skip(1) {
        reader.follow("rows come before").await;
        assert_eq!(&shown(&reader.shown().await), page);
    }
}

#[tokio::test]
async fn an_operator_finds_a_run_and_cancels_it() {
    let stack = Stack::start(Plan::default().relay("ADMIN_TOKEN", TOKEN)).await;
    let console = stack.console();
    console.send("something slow", BOUND).await;
    console.wait_for("Working slowly", BOUND).await;
    let mut reader = Reader::opens(&format!("{}/admin", stack.relay_url())).await;
    reader.press("Sign in", &[("token", TOKEN)]).await;
    reader.follow("Conversations").await;
    reader.reads("working").await;
    reader.look("admin-no-script-360").await;
    let database = rusqlite::Connection::open(stack.database()).expect("the database opens");
    let conversation: String =
        database.query_row("SELECT id FROM conversations", [], |row| row.get(0)).expect("there is one");
    // A list shows the beginning of a name.
    reader.follow(&conversation[..12]).await;
    reader.press("Cancel the run", &[]).await;
    reader.reads("The run is being cancelled.").await;
    reader.look("admin-no-script-360-cancelled").await;
    console.wait_for("Run 1 is stopped", BOUND).await;
    reader.follow("Audit").await;
    reader.reads(&format!("cancel the run of {} Outcome done", &conversation[..12])).await;
    reader.press("Sign out", &[]).await;
    reader.reads("ADMIN_TOKEN").await;
}

#[tokio::test]
async fn the_console_says_what_to_do_and_leads_to_the_files() {
    let stack = Stack::start(Plan::default()).await;
    let worktree = stack.worktree().await;
    std::fs::create_dir(worktree.join("notes")).expect("a folder is made");
    std::fs::write(worktree.join("notes/mine.txt"), "what I noted\n").expect("a file is written");
    let reader = Reader::opens(&format!("{}/console", stack.relay_url())).await;
    reader.reads("This conversation needs JavaScript. Allow it for this address, then load the page again.").await;
    reader.look("console-no-script-360").await;
    reader.follow("the files of your worktree").await;
    reader.follow("notes/").await;
    reader.follow("mine.txt").await;
    reader.reads("what I noted").await;
    reader.look("console-no-script-360-file").await;
}
