//! A diff that is too long for a chat, drawn by a real Chromium; and browsers that fail in every way, which no run may notice.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use relay_core::protocol::{Answer, Drawing, Question, RunOutcome};
use reqwest::StatusCode;

use crate::support::eventually;
use crate::support::vm::Vm;

const CLAUDE: &str = r#"#!/bin/bash
echo '{"type":"system","subtype":"init","session_id":"0af60324-d1fa-46c3-b4db-69a37af57c7a"}'
mkdir -p src
{
    echo 'use std::collections::BTreeMap;'
    echo
    for at in $(seq 120); do
        printf '/// The %sth of many functions, which has a comment that is longer than a phone is wide.\n' $at
        printf 'pub fn number_%s(counts: &mut BTreeMap<String, u32>) -> Option<u32> {\n' $at
        printf '    counts.get("key %s").copied().filter(|count| *count < %s && *count > 1) // ümläut 界 🎉\n}\n\n' $at $at
    done
} > src/many.rs
printf '# Sample\n\n</p><script>alert(1)</script>\n\tA tab, a bell \a, and \xe2\x80\xaehidden\n' > README.md
echo '{"result":"All done.","is_error":false,"type":"result","num_turns":1}'
"#;

fn program(directory: &Path, name: &str, script: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// A VM whose agent writes much, as a user of its own where that can be, and the place of its programs.
async fn vm_with(browser: Option<&str>) -> (Vm, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let claude = program(directory.path(), "claude", CLAUDE);
    let browser = browser.map(|script| program(directory.path(), "browser", script));
    let mut settings = vec![("ANTHROPIC_API_KEY", "sk-ant-not-used"), ("CLAUDE_PATH", claude.as_str())];
    settings.extend(browser.as_deref().map(|browser| ("CHROMIUM_PATH", browser)));
    if rustix::process::geteuid().is_root() {
        settings.push(("AGENT_UID", "1777"));
    }
    let vm = Vm::start(&settings).await;
    std::fs::set_permissions(vm.root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    (vm, directory)
}

fn drawings(outcome: &RunOutcome) -> &[Drawing] {
    let RunOutcome::Changes { drawings, .. } = outcome else { panic!("{outcome:?}") };
    drawings
}

async fn fetched(vm: &Vm, drawing: &Drawing) -> (String, Vec<u8>) {
    let answer = vm.send("GET", &format!("/images/{}", drawing.name), Vec::new()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (content_type, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn a_diff_that_is_too_long_for_a_chat_is_a_picture_of_its_beginning_and_a_document() {
    let (vm, _programs) = vm_with(None).await;
    let run = vm.prompt(1, "write much").await;
    let outcome = vm.relay.outcome(&run).await;
    let [picture, document] = drawings(&outcome) else { panic!("{outcome:?}") };
    assert_eq!((picture.caption.as_str(), picture.document), ("2 files, +605 −0 (the beginning)", false));
    assert_eq!((document.caption.as_str(), document.document), ("2 files, +605 −0", true));

    let (content_type, png) = fetched(&vm, picture).await;
    assert!(content_type == "image/png" && png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert!(side(16) == 720 && (1_500..=1_600).contains(&side(20)), "{} x {}", side(16), side(20));
    assert!(png.len() > 50_000, "something is drawn: {} bytes", png.len());

    let (content_type, pdf) = fetched(&vm, document).await;
    assert!(content_type == "application/pdf" && pdf.starts_with(b"%PDF-"));
    let pages = String::from_utf8_lossy(&pdf).matches("/Type /Page\n").count();
    assert!((20..100).contains(&pages), "{pages} pages");

    assert_eq!(vm.processes(&run), Vec::<String>::new());
    let answer: Answer = vm.ask(Question::Diff).await.json().await.unwrap();
    assert_eq!(answer.text, "*2 files, +605 −0*\n• `README.md` +3\n• `src/many.rs` new, +602");
}

#[tokio::test]
async fn a_browser_that_fails_costs_the_picture_and_nothing_else() {
    let draw = |with: &str| {
        format!(
            "#!/bin/bash\nfor one in \"$@\"; do case $one in --screenshot=*) place=${{one#*=}};; esac; done\n{with}\n"
        )
    };
    for (browser, said) in [
        ("#!/nowhere/interpreter\n".to_owned(), "Chromium ended with"),
        (draw("exit 3"), "Chromium ended with"),
        (draw("kill -SEGV $$"), "Chromium ended with"),
        (draw("exit 0"), "can't be used"),
        (draw("ln -s /etc/passwd \"$place\""), "can't be used"),
        (draw("mkfifo \"$place\""), "can't be used: it is something else"),
        (draw("echo not a picture > \"$place\""), "can't be used: it is something else"),
        (
            draw("printf '\\x89PNG\\r\\n\\x1a\\n' > \"$place\"; head -c 6000000 /dev/zero >> \"$place\""),
            "it is too large",
        ),
    ] {
        let (vm, _programs) = vm_with(Some(&browser)).await;
        let run = vm.prompt(1, "write much").await;
        let outcome = vm.relay.outcome(&run).await;
        assert_eq!(drawings(&outcome), [], "{browser}");
        let log = vm.log();
        assert!(log.contains(said) && log.matches("a diff cannot be drawn").count() == 1, "{browser}: {log}");
    }
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_its_diff_is_drawn_is_stopped_at_once() {
    let (vm, _programs) = vm_with(Some("#!/bin/bash\nsetsid sleep 555 &\nexec sleep 555\n")).await;
    let run = vm.prompt(1, "write much").await;
    let is_drawn = || vm.processes(&run).iter().any(|line| line.starts_with("sleep 555"));
    eventually("the browser", async || is_drawn().then_some(())).await;
    assert_eq!(vm.cancel(&run).await.status(), StatusCode::ACCEPTED);
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Cancelled);
    assert_eq!((vm.processes(&run), vm.worktree().join("src").exists()), (Vec::new(), false));
    assert!(!vm.log().contains("a diff cannot be drawn"), "nobody needs to know");
}

#[tokio::test]
async fn a_diff_that_fits_into_a_chat_is_not_drawn() {
    let vm = Vm::demo().await;
    let run = vm.prompt(1, "write hello.txt").await;
    let outcome = vm.relay.outcome(&run).await;
    let RunOutcome::Changes { files, drawings, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((files.lines(10), drawings), (vec!["• `hello.txt` new, +1".to_owned()], Vec::new()));
}
