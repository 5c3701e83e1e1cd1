//! The same loop with an agent of another make: the real opencode, over the Agent Client Protocol, against a fake Messages API.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use system_tests::fake_anthropic::FakeAnthropic;
use system_tests::fake_anthropic::script::MARK_VARIABLE;
use system_tests::peers::opencode_path;
use system_tests::process::descendants_alive;
use system_tests::stack::{Plan, Stack, git};
use system_tests::wait::wait_for;

use crate::common::{contents, no_process_left, processes_of_runs, pushed, shown_tree};

/// opencode takes seconds to start, and longer on a machine that is busy.
const RUN: Duration = Duration::from_secs(120);
/// Looks like a real key, so that it can be looked for wherever it must not be.
const KEY: &str = "sk-ant-api03-only-the-proxy-may-know-this";

/// opencode without a network but for the way to the API, and with this configuration beside the model.
fn with_opencode(api: &FakeAnthropic, config: &str) -> Plan {
    with_program(&opencode_path(), api, config)
}

fn with_program(program: &Path, api: &FakeAnthropic, config: &str) -> Plan {
    let driver = format!(
        "acp:OPENCODE_DISABLE_AUTOUPDATE=1 OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_LSP_DOWNLOAD=1 \
         npm_config_registry=http://127.0.0.1:1 \
         OPENCODE_CONFIG_CONTENT='{{\"model\": \"anthropic/claude-sonnet-4-5\"{config}}}' {} acp --pure",
        program.display()
    );
    Plan::default().vm("AGENT_DRIVER", driver).vm("ANTHROPIC_API_KEY", KEY).vm("ANTHROPIC_BASE_URL", api.url())
}

#[tokio::test]
async fn opencode_edits_a_file_and_runs_a_command_and_the_approved_tree_is_pushed() {
    let api = FakeAnthropic::start().await;
    let stack = Stack::start(with_opencode(&api, "")).await;
    let console = stack.console();
    console.send("SCENARIO:edit please", RUN).await;
    console.wait_for("✏️ Editing hello.txt", RUN).await;
    let shown = console.wait_for("*approve* opens", RUN).await;
    let diff = shown["code"].as_str().expect("the diff is shown");
    assert!(diff.contains("+hello from the fake model") && diff.contains("+# scratch edited"), "{diff}");
    assert!(shown["text"].as_str().is_some_and(|text| text.contains("Done: created hello.txt")), "{shown}");
    console.send("approve", RUN).await;
    console.wait_for("is pushed as branch", RUN).await;
    let (branch, tree) = pushed(&stack.origin()).expect("the origin has the branch");
    assert_eq!(tree, shown_tree(&console.entries()));
    assert_eq!(git(&stack.origin(), &["show", &format!("{branch}:hello.txt")]), "hello from the fake model");

    // The command printed its environment, which came back as a tool result: the agent has no key to give away.
    let requests = api.messages();
    assert!(requests.iter().any(|request| request.mentions("ANTHROPIC_BASE_URL")), "the environment was printed");
    for request in &requests {
        assert_eq!(request.header("x-api-key"), Some(KEY), "the proxy puts the key in");
        assert!(!String::from_utf8_lossy(&request.body).contains(KEY), "the agent knows the key");
    }
    let folder = stack.folder().join("vm");
    assert_eq!(files_with(&folder, KEY.as_bytes()), Vec::<String>::new());
    assert!(!stack.logs().contains(KEY), "the key is in a log");

    // The next task goes on in the same session.
    console.send("SCENARIO:bash[[echo second]]", RUN).await;
    console.wait_for("The command has run", RUN).await;
    assert!(api.messages().pop().expect("the API was asked").mentions("SCENARIO:edit please"), "the session went on");
    assert!(!console.texts().iter().any(|text| text.contains("session is gone")), "{:?}", console.texts());
}

/// Every file below `folder` that holds these bytes.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let found =
        contents(folder).into_iter().filter(|(_, (_, content))| content.windows(bytes.len()).any(|part| part == bytes));
    found.map(|(path, _)| path.display().to_string()).collect()
}

#[tokio::test]
async fn opencode_asks_whether_it_may_and_heeds_the_answer() {
    let api = FakeAnthropic::start().await;
    let stack = Stack::start(with_opencode(&api, ", \"permission\": {\"edit\": \"ask\"}")).await;
    let console = stack.console();
    console.send("SCENARIO:edit please", RUN).await;
    let asked = console.wait_for("May the agent do this?", RUN).await;
    let text = asked["text"].as_str().unwrap_or_default();
    assert!(text.contains("✏️ Editing hello.txt") && text.contains("1. *Allow once*"), "{asked}");
    console.send("1", RUN).await;
    wait_for("the second question", RUN, async || {
        let texts = console.texts();
        if texts.iter().any(|text| text.contains("May the agent do this?") && text.contains("README.md")) {
            Ok(())
        } else {
            Err(texts)
        }
    })
    .await;
    console.send("3", RUN).await;
    let shown = console.wait_for("*approve* opens", RUN).await;
    let diff = shown["code"].as_str().expect("the diff is shown");
    assert!(diff.contains("+hello from the fake model") && !diff.contains("scratch edited"), "{diff}");
}

#[tokio::test]
async fn a_cancelled_run_of_opencode_leaves_no_process_and_no_change() {
    let api = FakeAnthropic::start().await;
    let stack = Stack::start(with_opencode(&api, "")).await;
    let console = stack.console();
    let worktree = stack.worktree().await;
    let before = contents(&worktree);
    let mark = format!("acp-mark-{}", std::process::id());
    console.send(&format!("SCENARIO:sleep[[{mark}]]"), RUN).await;
    let marked = format!("{MARK_VARIABLE}={mark}");
    wait_for("its commands to run", RUN, async || {
        let alive = descendants_alive(&marked);
        if alive.len() >= 3 { Ok(()) } else { Err(alive) }
    })
    .await;
    console.send("cancel", RUN).await;
    console.wait_for("is stopped", RUN).await;
    assert_eq!(descendants_alive(&marked), Vec::<String>::new(), "confirmed only when nothing is left");
    assert_eq!(processes_of_runs(&stack), Vec::<String>::new());
    no_process_left(&stack).await;
    assert_eq!(contents(&worktree), before);
}

/// Also without a sandbox there is a way to the API, and the tools are there.
#[tokio::test]
async fn opencode_works_without_a_sandbox_and_sends_pictures() {
    let api = FakeAnthropic::start().await;
    let stack = Stack::start(with_opencode(&api, "").vm("AGENT_SANDBOX", "off")).await;
    let console = stack.console();
    console.send("SCENARIO:draw please", RUN).await;
    let picture = console.wait_for("My drawing", RUN).await;
    assert!(picture["picture"].is_string(), "{picture}");
    console.wait_for("That is my drawing.", RUN).await;
    assert!(api.messages().iter().all(|request| request.header("x-api-key") == Some(KEY)));
}

/// The whole loop, with an agent that may touch nothing but its own.
#[tokio::test]
async fn opencode_works_as_a_user_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let api = FakeAnthropic::start().await;
    // Where everyone can reach it; the tests' own folder may be somebody's alone.
    let programs = tempfile::tempdir().expect("a folder");
    let program = programs.path().join("opencode");
    let everyone = fs::Permissions::from_mode(0o755);
    fs::set_permissions(programs.path(), everyone.clone()).expect("it is ours");
    fs::copy(opencode_path(), &program).expect("the program is copied");
    let stack = Stack::start(with_program(&program, &api, "").vm("AGENT_UID", "1777")).await;
    fs::set_permissions(stack.folder(), everyone).expect("it is ours");
    let console = stack.console();
    console.send("SCENARIO:draw please", RUN).await;
    console.wait_for("My drawing", RUN).await;
    console.wait_for("*approve* opens", RUN).await;
    console.send("approve", RUN).await;
    console.wait_for("is pushed as branch", RUN).await;
    assert!(pushed(&stack.origin()).is_some(), "the origin has the branch");
}
