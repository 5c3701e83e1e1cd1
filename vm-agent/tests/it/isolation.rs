//! An agent with a user of its own that tries to reach what is not its business. As another user than root the whole of it
//! cannot be had, and is refused at the start.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use relay_core::protocol::RunOutcome;

use crate::support::vm::{PROGRAM, Vm};

const KEY: &str = "sk-ant-the-real-one";
const AGENT: &str = "1777";
const INIT: &str = r#"echo '{"type":"system","subtype":"init","session_id":"0af60324-d1fa-46c3-b4db-69a37af57c7a"}'"#;
const DONE: &str = r#"echo '{"result":"All done.","is_error":false,"type":"result","num_turns":1}'"#;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A VM whose Claude Code is this shell script under a user of its own. What it notes is in the worktree.
async fn vm_with(script: &str, settings: &[(&str, &str)]) -> (Vm, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    open_up(&directory);
    let program = directory.path().join("claude");
    std::fs::write(&program, format!("#!/bin/sh\nNOTES=$PWD/notes\n{INIT}\n{script}\n{DONE}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    // What this layer stops without the one before it.
    let mut all = vec![
        ("ANTHROPIC_API_KEY", KEY),
        ("CLAUDE_PATH", program.to_str().unwrap()),
        ("AGENT_UID", AGENT),
        ("AGENT_SANDBOX", "off"),
    ];
    all.extend(settings);
    let vm = Vm::start(&all).await;
    // The volume is there to be passed through, wherever the tests put it.
    open_up(&vm.root);
    (vm, directory)
}

fn open_up(directory: &tempfile::TempDir) {
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the script noted, once its run has ended with a diff.
async fn notes(vm: &Vm) -> String {
    let run = vm.prompt(1, "try it").await;
    let outcome = vm.relay.outcome(&run).await;
    assert!(matches!(outcome, RunOutcome::Changes { .. }), "{outcome:?}");
    std::fs::read_to_string(vm.worktree().join("notes")).unwrap()
}

#[tokio::test]
async fn only_root_can_give_the_agent_a_user_of_its_own() {
    if is_root() {
        return;
    }
    let output = std::process::Command::new(PROGRAM)
        .env_clear()
        .envs([
            ("VM_SECRET", KEY),
            ("EVENTS_URL", "http://127.0.0.1:9"),
            ("AGENT_DRIVER", "demo"),
            ("AGENT_UID", AGENT),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("AGENT_UID"));
}

#[tokio::test]
async fn the_agent_is_another_user_without_groups_and_without_ways_up() {
    if !is_root() {
        return;
    }
    let (vm, _directory) = vm_with("id -u > $NOTES; cat /proc/self/status >> $NOTES; ulimit -n >> $NOTES", &[]).await;
    let notes = notes(&vm).await;
    let line = |name: &str| notes.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!(notes.lines().next(), Some(AGENT));
    assert_eq!((line("NoNewPrivs:"), line("Groups:")), (Some("1"), Some("")), "{notes}");
    assert_eq!(line("CapEff:"), Some("0000000000000000"));
    assert_eq!(notes.lines().last(), Some("16384"));
    assert!(vm.log().contains("a user of its own (uid 1777)"), "{}", vm.log());
}

#[tokio::test]
async fn the_agent_reaches_nothing_of_vm_agent() {
    if !is_root() {
        return;
    }
    // From its parent to the supervisor and to vm-agent. Each line that is noted is something that it could do.
    let script = "
supervisor=$(cut -d' ' -f4 /proc/$PPID/stat); vm=$(cut -d' ' -f4 /proc/$supervisor/stat)
data=$(cd ../../.. && pwd)
try() { name=$1; shift; if \"$@\" > /dev/null 2>&1; then echo \"$name\" >> $NOTES; fi; }
echo tried > $NOTES
try 'environment of vm-agent' cat /proc/$vm/environ
try 'environment of the supervisor' cat /proc/$supervisor/environ
try 'memory of vm-agent' head -c 1 /proc/$vm/mem
try 'kill vm-agent' kill -9 $vm
try 'kill the supervisor' kill -9 $supervisor
try 'list DATA_DIR' ls $data
try 'write DATA_DIR' touch $data/mine
try 'journal' ls $data/runs
try 'fences' cat $data/fences.json
try 'session' cat ../session
try 'trusted git' touch ../git/config
try 'hook' touch ../git/hooks/post-commit
try 'pictures' ls $data/images
try 'files of others' ls $data/files
try 'own file' cat README.md
try 'own history' git log -1";
    let (vm, _directory) = vm_with(script, &[]).await;
    let notes = notes(&vm).await;
    assert_eq!(notes.lines().collect::<Vec<_>>(), ["tried", "own file", "own history"]);
    assert!(!vm.log().contains(KEY));
}

#[tokio::test]
async fn the_socket_of_a_run_is_its_users_alone_and_goes_with_it() {
    if !is_root() {
        return;
    }
    let (vm, _directory) = vm_with(
        "echo $ANTHROPIC_UNIX_SOCKET > $NOTES; stat -c '%u %a' $(dirname $ANTHROPIC_UNIX_SOCKET) >> $NOTES",
        &[],
    )
    .await;
    let notes = notes(&vm).await;
    let mut lines = notes.lines();
    let socket = PathBuf::from(lines.next().unwrap());
    assert_eq!(lines.next(), Some("1777 700"), "the directory is the agent's, and nobody else's");
    assert!(!socket.exists(), "it is gone with the run");
}

#[tokio::test]
async fn a_memory_bomb_ends_its_run_and_nothing_else() {
    if !is_root() {
        return;
    }
    let (vm, _directory) =
        vm_with("head -c 2000000000 /dev/zero | tail > /dev/null; sleep 600", &[("AGENT_MEMORY_MAX_MB", "200")]).await;
    let run = vm.prompt(1, "try it").await;
    let outcome = vm.relay.outcome(&run).await;
    assert!(
        matches!(&outcome, RunOutcome::Failed { reason, .. } if reason.contains("200 MB of memory")),
        "{outcome:?}"
    );
    assert_eq!(vm.processes(&run), Vec::<String>::new());
    let next = vm.prompt(2, "a second one").await;
    vm.relay.outcome(&next).await;
}

#[tokio::test]
async fn a_fork_bomb_is_bounded() {
    if !is_root() {
        return;
    }
    let script = "
i=0; while [ $i -lt 300 ]; do (sleep 600 > /dev/null 2>&1 &) 2> /dev/null; i=$((i + 1)); done
pgrep -u 1777 -c sleep > $NOTES";
    let (vm, _directory) = vm_with(script, &[("AGENT_PROCESSES_MAX", "50")]).await;
    let run = vm.prompt(1, "try it").await;
    let outcome = vm.relay.outcome(&run).await;
    let count = std::fs::read_to_string(vm.worktree().join("notes")).unwrap_or_default();
    // The shell itself may have been refused a process, and have ended for it.
    assert!(count.trim().parse().is_ok_and(|count: u32| count <= 50) || matches!(outcome, RunOutcome::Failed { .. }));
    assert_eq!(vm.processes(&run), Vec::<String>::new());
}
