//! The driver for Claude Code before programs that speak its protocol: what it does when the agent misbehaves.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use relay_core::id::RunId;
use relay_core::protocol::{Health, RunOutcome, Spent, VmEvent};

use crate::support::eventually;
use crate::support::vm::{Vm, run};

const INIT: &str = r#"echo '{"type":"system","subtype":"init","session_id":"0af60324-d1fa-46c3-b4db-69a37af57c7a"}'"#;
const DONE: &str = r#"echo '{"result":"All done.","is_error":false,"type":"result","num_turns":1}'"#;
const KEY: &str = "sk-ant-the-real-one";

/// A VM whose Claude Code is this shell script, and the file that the script may write notes to.
async fn vm_with(script: &str) -> (Vm, tempfile::TempDir, PathBuf) {
    vm_set_to(script, &[]).await
}

/// The same with more settings.
async fn vm_set_to(script: &str, settings: &[(&str, &str)]) -> (Vm, tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (program, notes) = (directory.path().join("claude"), directory.path().join("notes"));
    write_program(&program, &notes, script);
    // The notes lie outside of what a sandbox shows.
    let mut all =
        vec![("ANTHROPIC_API_KEY", KEY), ("CLAUDE_PATH", program.to_str().unwrap()), ("AGENT_SANDBOX", "off")];
    all.extend(settings);
    (Vm::start(&all).await, directory, notes)
}

fn write_program(program: &Path, notes: &Path, script: &str) {
    std::fs::write(program, format!("#!/bin/sh\nNOTES={}\n{script}\n", notes.display())).unwrap();
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn spent(vm: &Vm, run: &RunId) -> Spent {
    let spent = |event| match event {
        VmEvent::Finished { spent, .. } => Some(spent),
        _ => None,
    };
    vm.relay.event(run, 0, spent).await.expect("an agent was at work")
}

async fn failure(vm: &Vm, number: u64) -> String {
    let run = vm.prompt(number, "do it").await;
    match vm.relay.outcome(&run).await {
        RunOutcome::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_agent_gets_the_task_and_a_token_but_no_secret() {
    let script = format!(
        "read -r task; echo \"$task\" > \"$NOTES\"; env >> \"$NOTES\"; echo \"$@\" >> \"$NOTES\"\n{INIT}\n{DONE}"
    );
    let (vm, _directory, notes) = vm_with(&script).await;
    let run = vm.prompt(1, "say \"hi\"").await;
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Answered { text: "All done.".to_owned() });
    let notes = std::fs::read_to_string(notes).unwrap();
    assert!(notes.contains(r#"say \"hi\""#) && notes.contains("ANTHROPIC_AUTH_TOKEN=run-"), "{notes}");
    for secret in [KEY, "ANTHROPIC_API_KEY", "VM_SECRET", "a secret of the tests, long enough for one"] {
        assert!(!notes.contains(secret), "{secret} in {notes}");
    }
    assert!(notes.contains("--setting-sources user --strict-mcp-config"), "{notes}");
    assert!(!notes.contains("--resume") && !notes.contains("--append-system-prompt-file"), "{notes}");
}

#[tokio::test]
async fn the_session_goes_on_and_a_lost_one_starts_anew() {
    let lost = r#"{"type":"result","is_error":true,"errors":["No conversation found with session ID: 0af60324-d1fa-46c3-b4db-69a37af57c7a"]}"#;
    let script =
        format!("echo \"$@\" >> \"$NOTES\"\ncase \"$*\" in *--resume*) echo '{lost}'; exit 1 ;; esac\n{INIT}\n{DONE}");
    let (vm, _directory, notes) = vm_with(&script).await;
    let first = vm.prompt(1, "first").await;
    vm.relay.outcome(&first).await;
    let second = vm.prompt(2, "second").await;
    assert!(matches!(vm.relay.outcome(&second).await, RunOutcome::Answered { .. }));
    let notes = std::fs::read_to_string(notes).unwrap();
    let resumed: Vec<bool> =
        notes.lines().map(|line| line.contains("--resume 0af60324-d1fa-46c3-b4db-69a37af57c7a")).collect();
    assert_eq!(resumed, [false, true, false]);
    let progress = |event| match event {
        VmEvent::Progress { text } => Some(text),
        _ => None,
    };
    assert!(vm.relay.event(&second, 0, progress).await.contains("session is gone"));
}

#[tokio::test]
async fn an_agent_that_kills_its_supervisor_leaves_nothing_behind() {
    let script =
        format!("{INIT}\nsetsid sleep 310 > /dev/null 2>&1 &\nsleep 0.1; kill -9 $PPID; setsid sleep 311 & sleep 312");
    let (vm, _directory, _) = vm_with(&script).await;
    assert!(failure(&vm, 1).await.contains("without a result"));
    assert_eq!(vm.processes(&run(1)), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_that_does_not_listen_is_cancelled_all_the_same() {
    let script = format!("trap '' TERM INT; {INIT}\nwhile :; do sleep 1; done");
    let (vm, _directory, _) = vm_with(&script).await;
    let run = vm.prompt(1, "do it").await;
    vm.relay.event(&run, 0, |event| matches!(event, VmEvent::Started { .. }).then_some(())).await;
    vm.cancel(&run).await;
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Cancelled);
    assert_eq!(vm.processes(&run), Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_key_ends_the_run_at_once() {
    let retry = r#"{"type":"system","subtype":"api_retry","error_status":401}"#;
    let (vm, _directory, _) = vm_with(&format!("{INIT}\necho '{retry}'\nsleep 600")).await;
    assert!(failure(&vm, 1).await.contains("API key was refused"));
}

#[tokio::test]
async fn noise_and_giants_do_not_confuse_the_driver() {
    let giant = "head -c 20000000 /dev/zero | tr '\\0' x; echo";
    let script = format!("{INIT}\necho warning\necho '{{\"type\":\"new\"}}'\n{giant}\n{DONE}");
    let (vm, _directory, _) = vm_with(&script).await;
    let run = vm.prompt(1, "do it").await;
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Answered { text: "All done.".to_owned() });
}

#[tokio::test]
async fn a_missing_program_and_a_crash_are_told_in_words() {
    let (vm, directory, _) = vm_with("echo broken pipe dream >&2; exit 3").await;
    assert!(failure(&vm, 1).await.contains("broken pipe dream"));
    std::fs::remove_file(directory.path().join("claude")).unwrap();
    assert!(failure(&vm, 2).await.contains("CLAUDE_PATH"));
}

/// What the program tells is the cost of the session, over all of its runs.
#[tokio::test]
async fn a_run_costs_what_its_session_had_not_cost_before() {
    let result =
        |cost: &str| format!(r#"echo '{{"result":"x","is_error":false,"type":"result","total_cost_usd":{cost}}}'"#);
    let (vm, directory, notes) = vm_with(&format!("{INIT}\n{}", result("0.25"))).await;
    let first = vm.prompt(1, "first").await;
    assert_eq!(spent(&vm, &first).await.cost_microusd, Some(250_000));
    write_program(&directory.path().join("claude"), &notes, &format!("{INIT}\n{}", result("0.2600004")));
    let second = vm.prompt(2, "second").await;
    let second = spent(&vm, &second).await;
    assert_eq!(second.cost_microusd, Some(10_000));
    assert!(second.duration_ms > 0 && second.duration_ms < 60_000, "{second:?}");
}

#[tokio::test]
async fn an_agent_that_hangs_is_stopped_and_one_whose_tool_takes_long_is_not() {
    let settings = [("AGENT_SILENCE_TIMEOUT_MS", "700"), ("MAX_BUDGET_USD", "1.5")];
    let (vm, _directory, _) = vm_set_to(&format!("{INIT}\nsleep 600"), &settings).await;
    assert!(failure(&vm, 1).await.contains("said nothing for"));
    assert_eq!(vm.processes(&run(1)), Vec::<String>::new());

    let tool = r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t1","name":"Bash","input":{}}]}}"#;
    let ended = r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1"}]}}"#;
    let script = format!("echo \"$@\" >> \"$NOTES\"\n{INIT}\necho '{tool}'\nsleep 1.5\necho '{ended}'\n{DONE}");
    let (vm, _directory, notes) = vm_set_to(&script, &settings).await;
    let run = vm.prompt(1, "do it").await;
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Answered { text: "All done.".to_owned() });
    assert!(std::fs::read_to_string(notes).unwrap().contains("--max-budget-usd 1.5"));
}

#[tokio::test]
async fn the_version_of_the_program_is_told() {
    let (vm, _directory, _) = vm_with("[ \"$*\" = --version ] && echo '2.1.330 (Claude Code)'").await;
    let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
    assert_eq!(health.driver_version.as_deref(), Some("2.1.330"));
}

#[tokio::test]
async fn a_vm_without_a_key_says_so() {
    let vm = Vm::start(&[("AGENT_DRIVER", "claude")]).await;
    assert!(failure(&vm, 1).await.contains("ANTHROPIC_API_KEY"));
}

#[tokio::test]
async fn the_repositorys_guide_is_given_to_the_agent_unless_it_is_a_link() {
    let (vm, _directory, notes) = vm_with(&format!("echo \"$@\" >> \"$NOTES\"\n{INIT}\n{DONE}")).await;
    eventually("the clone", async || vm.worktree().join("README.md").exists().then_some(())).await;
    let guide = vm.worktree().join("CLAUDE.md");
    std::fs::write(&guide, "Be kind.").unwrap();
    let first = vm.prompt(1, "first").await;
    vm.relay.outcome(&first).await;
    std::fs::remove_file(&guide).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &guide).unwrap();
    let second = vm.prompt(2, "second").await;
    vm.relay.outcome(&second).await;
    let notes = std::fs::read_to_string(notes).unwrap();
    let given: Vec<bool> = notes.lines().map(|line| line.contains("--append-system-prompt-file")).collect();
    assert_eq!(given, [true, false]);
}

#[tokio::test]
async fn a_done_run_whose_changes_cannot_be_read_says_what_became_of_the_files() {
    for harm in ["touch ../snapshot.index.lock", "rm -rf ../git"] {
        let (vm, _directory, _notes) = vm_with(&format!("echo x > left.txt; {harm}\n{INIT}\n{DONE}")).await;
        let reason = failure(&vm, 1).await;
        assert!(reason.contains("files are left as they are"), "{harm}: {reason}");
        assert!(vm.worktree().join("left.txt").exists());
    }
}
