//! The files of the worktree, looked into from the console.

use std::os::unix::fs::symlink;

use reqwest::{Client, StatusCode};
use system_tests::browser::{Browser, Screen};
use system_tests::stack::{Plan, Stack};

use super::page::{find, follow, script, text};
use crate::common::contents;

#[tokio::test]
async fn the_files_of_the_worktree_are_listed_read_and_downloaded_and_stay_as_they_are() {
    let stack = Stack::start(Plan::default()).await;
    let worktree = stack.worktree().await;
    let hostile = "</pre><script>window.acted = 1</script>\n\u{1b}[31mred \u{202e}turned\n";
    std::fs::create_dir_all(worktree.join("a folder/<b>deep")).expect("a folder is made");
    std::fs::write(worktree.join("a folder/<b>deep/50%? #1.txt"), hostile).expect("a file is written");
    std::fs::write(worktree.join("binary.bin"), b"\0\x01\x02").expect("a file is written");
    std::fs::write(stack.folder().join("secret"), "a secret outside").expect("a file is written");
    symlink(stack.folder().join("secret"), worktree.join("way-out")).expect("a link is made");
    let before = contents(&worktree);
    for screen in [Screen::PHONE, Screen::DESK, Screen::PHONE.in_the_dark()] {
        let browser = Browser::with(screen).await;
        let name = screen.name();
        let check = async |page: &str| {
            browser.screenshot(&format!("console-{page}-{name}")).await;
            assert_eq!(
                script(&browser, "return document.documentElement.scrollWidth > innerWidth").await,
                false,
                "{page} {name}"
            );
            assert_eq!(browser.hindrances().await, Vec::<String>::new(), "{page} {name}");
        };
        browser.client().goto(&format!("{}/console", stack.relay_url())).await.expect("the page opens");
        follow(&browser, "Files").await;
        find(&browser, ".entries").await;
        let listed = text(&browser).await;
        assert!(listed.contains("way-out") && listed.contains("link, not followed"), "{listed}");
        assert!(!listed.contains(".git\n"), "{listed}");
        check("files").await;
        follow(&browser, "a folder/").await;
        follow(&browser, "<b>deep/").await;
        follow(&browser, "50%? #1.txt").await;
        let shown = find(&browser, "pre.file").await.text().await.expect("a text");
        assert!(
            shown.contains("</pre><script>window.acted = 1</script>") && shown.contains("^[[31mred U+202Eturned"),
            "{shown}"
        );
        assert_eq!(script(&browser, "return window.acted ?? document.querySelectorAll('script').length").await, 0);
        check("file").await;
        follow(&browser, "Files").await;
        follow(&browser, "binary.bin").await;
        assert!(text(&browser).await.contains("This is not text"));
        follow(&browser, "Conversation").await;
        find(&browser, "#connection[data-state=open]").await;
    }
    let http = Client::new();
    let get = async |path: &str| {
        http.get(format!("{}/console/files{path}", stack.relay_url())).send().await.expect("an answer")
    };
    let download = get("/a%20folder/%3Cb%3Edeep/50%25%3F%20%231.txt?download=1").await;
    let header = |name: &str| download.headers()[name].to_str().expect("a text").to_owned();
    assert_eq!(header("content-disposition"), "attachment; filename*=UTF-8''50%25%3F%20%231.txt");
    assert_eq!(
        (header("content-type").as_str(), header("x-content-type-options").as_str()),
        ("application/octet-stream", "nosniff")
    );
    assert_eq!(download.text().await.expect("a text"), hostile);
    for bad in [
        "/way-out",
        "/way-out?download=1",
        "/.git/config",
        "/%2e%2e%2fgit%2fconfig",
        "/..%2f..%2f..%2fsecret",
        "/missing",
    ] {
        let answer = get(bad).await;
        assert!(answer.headers().get("content-disposition").is_none(), "{bad}");
        let page = answer.text().await.expect("a text");
        assert!(!page.contains("a secret outside") && !page.contains("[core]"), "{bad}: {page}");
        assert!(page.contains("<main") && page.contains("class=\"notice"), "{bad}: {page}");
    }
    assert_eq!(contents(&worktree), before);
}

#[tokio::test]
async fn a_vm_that_does_not_answer_is_said_on_the_page_of_its_files() {
    let mut stack = Stack::start(Plan::default()).await;
    stack.worktree().await;
    stack.kill_vm().await;
    let url = format!("{}/console/files/src", stack.relay_url());
    assert_eq!(Client::new().get(&url).send().await.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
    let browser = Browser::start().await;
    browser.client().goto(&url).await.expect("the page opens");
    assert!(text(&browser).await.contains("Your VM does not answer."));
    browser.screenshot("console-files-asleep-360").await;
    stack.start_vm().await;
    follow(&browser, "Try again").await;
    find(&browser, ".entries").await;
}

#[tokio::test]
async fn files_are_shown_to_whoever_may_use_the_console() {
    let token = "a-token-for-the-console-of-this-test";
    let stack = Stack::start(Plan::default().relay("CONSOLE_TOKEN", token)).await;
    for path in ["/console/files", "/console/files/README.md", "/console/files/README.md?download=1"] {
        let answer = Client::new().get(format!("{}{path}", stack.relay_url())).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}
