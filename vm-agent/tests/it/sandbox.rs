//! An agent in a sandbox that tries to look and to reach out of it. Where the kernel gives users no namespaces there is no sandbox:
//! then it is said, and these tests have nothing to look at.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use relay_core::protocol::{Health, RunOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::vm::Vm;

const KEY: &str = "sk-ant-the-real-one";
const INIT: &str = r#"echo '{"type":"system","subtype":"init","session_id":"0af60324-d1fa-46c3-b4db-69a37af57c7a"}'"#;
const DONE: &str = r#"echo '{"result":"All done.","is_error":false,"type":"result","num_turns":1}'"#;
/// Ask the proxy for a host and port, say hello through it, and note the first line of every answer.
const REACH: &str = r#"
reach() {
    exec 3<>/dev/tcp/127.0.0.1/3128
    printf 'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' "$1" >&3
    IFS= read -r status <&3; IFS= read -r line <&3
    if [ "${status#*200}" != "$status" ]; then printf 'hello\n' >&3; IFS= read -r line <&3; echo "$1: $line" >> $NOTES
    else echo "$1: ${status%?}" >> $NOTES; fi
    exec 3>&-
}
"#;

/// Asked of another program than the one that is tested.
fn kernel_has_namespaces() -> bool {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--net", "--fork", "true"])
        .status()
        .is_ok_and(|status| status.success())
}

/// A VM whose Claude Code is this script of bash, as a user of its own where that can be. What it notes is in the worktree.
async fn vm_with(script: &str, settings: &[(&str, &str)]) -> (Vm, tempfile::TempDir) {
    let open_up = |directory: &tempfile::TempDir| {
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let directory = tempfile::tempdir().unwrap();
    open_up(&directory);
    let program = directory.path().join("claude");
    std::fs::write(&program, format!("#!/bin/bash\nNOTES=$PWD/notes\n{INIT}\n{script}\n{DONE}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut all = vec![("ANTHROPIC_API_KEY", KEY), ("CLAUDE_PATH", program.to_str().unwrap())];
    if rustix::process::geteuid().is_root() {
        all.push(("AGENT_UID", "1777"));
    }
    all.extend(settings);
    let vm = Vm::start(&all).await;
    open_up(&vm.root);
    (vm, directory)
}

/// What the script noted, once its run has ended with a diff.
async fn notes(vm: &Vm) -> Vec<String> {
    let run = vm.prompt(1, "try it").await;
    let outcome = vm.relay.outcome(&run).await;
    assert!(matches!(outcome, RunOutcome::Changes { .. }), "{outcome:?}");
    let notes = std::fs::read_to_string(vm.worktree().join("notes")).unwrap();
    notes.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_agent_sees_its_own_processes_and_its_work_and_nothing_else() {
    if !kernel_has_namespaces() {
        return;
    }
    // Each line that is noted is something that it could do.
    let script = r#"
try() { name=$1; shift; if "$@" > /dev/null 2>&1; then echo "$name" >> $NOTES; fi; }
echo tried > $NOTES
[ $(ls /proc | grep -c '^[0-9]') -lt 10 ] || echo 'processes of others' >> $NOTES
[ "$(ls -A /root /home /mnt /srv | grep -v :)" = "" ] || echo 'homes of others' >> $NOTES
try 'the origin' ls $SEEN/origin.git
try 'the journal' ls $SEEN/data/runs
try 'pictures' ls $SEEN/data/images
try 'the trusted git' ls $SEEN/data/repos/origin/git/hooks
try 'write to the system' touch /usr/local/mine
try 'write beside the worktree' touch ../mine && [ -e $SEEN/data/repos/origin/mine ]
try 'mount' mount -t tmpfs none /mnt
try 'another namespace' unshare --net true
try 'own file' cat README.md
try 'own history' git log -1
try 'own home' touch $HOME/mine
try 'temporary file' touch /tmp/mine
try 'fill the memory' dd if=/dev/zero of=/tmp/mine bs=1M count=600"#;
    let (vm, directory) = vm_with(script, &[]).await;
    let program = directory.path().join("claude");
    let text = std::fs::read_to_string(&program).unwrap();
    std::fs::write(&program, text.replace("$SEEN", vm.root.path().to_str().unwrap())).unwrap();
    let mut notes = notes(&vm).await;
    // A file beside the worktree is one in the sandbox alone.
    notes.retain(|note| note != "write beside the worktree");
    assert_eq!(notes, ["tried", "own file", "own history", "own home", "temporary file"]);
    assert!(!vm.root.path().join("data/repos/origin/mine").exists());
    let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
    assert!(health.isolation.contains("a sandbox with a network of listed hosts"), "{health:?}");
}

#[tokio::test]
async fn the_agent_reaches_the_hosts_on_the_list_and_no_others() {
    if !kernel_has_namespaces() {
        return;
    }
    let (listed, other) = (greeter().await, greeter().await);
    let script = format!(
        "{REACH}
reach 127.0.0.1:{listed}; reach 127.0.0.1:{other}; reach example.com:443; reach localhost:{listed}
if (exec 3<>/dev/tcp/127.0.0.1/{listed}) 2>/dev/null; then echo 'past the proxy' >> $NOTES; fi
env | grep -c -i '^https_proxy=http://127.0.0.1:3128$' >> $NOTES"
    );
    let (vm, _directory) = vm_with(&script, &[("AGENT_HOSTS", &format!("127.0.0.1:{listed}"))]).await;
    let expected = [
        format!("127.0.0.1:{listed}: welcome"),
        format!("127.0.0.1:{other}: HTTP/1.1 403 Forbidden"),
        "example.com:443: HTTP/1.1 403 Forbidden".to_owned(),
        format!("localhost:{listed}: HTTP/1.1 403 Forbidden"),
        "2".to_owned(),
    ];
    assert_eq!(notes(&vm).await, expected);
    assert!(vm.log().contains("the agent asked for a host that is not listed"), "an operator can see what is missing");
}

/// A server that answers whoever says hello; its port.
async fn greeter() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut hello = [0; 6];
                if stream.read_exact(&mut hello).await.is_ok() && hello == *b"hello\n" {
                    let _ = stream.write_all(b"welcome\n").await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn whatever_a_run_starts_in_its_sandbox_ends_with_it() {
    if !kernel_has_namespaces() {
        return;
    }
    let (vm, _directory) =
        vm_with("setsid sleep 600 & (trap '' TERM; exec setsid sleep 601) & date > $NOTES", &[]).await;
    let run = vm.prompt(1, "try it").await;
    vm.relay.outcome(&run).await;
    assert_eq!(vm.processes(&run), Vec::<String>::new());
}

#[tokio::test]
async fn a_sandbox_that_is_not_wanted_or_not_to_be_had_is_missed_aloud() {
    let (vm, _directory) = vm_with("date > $NOTES", &[("AGENT_SANDBOX", "off")]).await;
    assert!(vm.log().contains("AGENT_SANDBOX is off"), "{}", vm.log());
    let empty = tempfile::tempdir().unwrap();
    let (vm, _directory) = vm_with("/bin/date > $NOTES", &[("PATH", empty.path().to_str().unwrap())]).await;
    assert!(vm.log().contains("bubblewrap is not installed"), "{}", vm.log());
    assert!(vm.log().contains("the agent has") && vm.log().contains("no sandbox"), "{}", vm.log());
}

/// A sandbox that does not come to be is none, and the start does not wait for it.
#[tokio::test]
async fn a_sandbox_that_does_not_answer_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("bwrap");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let vm = Vm::start(&[("AGENT_DRIVER", "demo"), ("PATH", &path)]).await;
    let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
    assert!(health.isolation.contains("no sandbox"), "{}", health.isolation);
    assert!(vm.log().contains("bubblewrap did not answer within"), "{}", vm.log());
}
