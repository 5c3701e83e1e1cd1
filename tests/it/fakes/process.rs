use std::path::Path;
use std::time::Duration;

use system_tests::process::{Process, descendants_alive, kill_descendants};
use system_tests::wait::{wait_for, wait_until};

use super::BOUND;

const SHELL: &str = "/bin/sh";
const PATH: (&str, &str) = ("PATH", "/usr/bin:/bin");

/// Text that no other process on the machine carries.
fn marker(name: &str) -> String {
    format!("textslash-{name}-{}", std::process::id())
}

#[tokio::test]
async fn a_process_has_the_given_environment_and_no_other() {
    let mut process = Process::start(Path::new("/usr/bin/env"), &[], &[("ONE", "1"), ("TWO", "2")]);
    assert!(process.exited(BOUND).await.success());
    wait_for("both lines", BOUND, async || if process.lines().len() == 2 { Ok(()) } else { Err(process.lines()) })
        .await;
    let mut lines = process.lines();
    lines.sort();
    assert_eq!(lines, ["ONE=1", "TWO=2"]);
}

#[tokio::test]
async fn lines_of_both_outputs_are_waited_for() {
    let script = "echo first; echo listening on 127.0.0.1:1 >&2; exec sleep 300";
    let mut process = Process::start(Path::new(SHELL), &["-c", script], &[PATH]);
    assert_eq!(process.wait_for_line("listening on", BOUND).await, "listening on 127.0.0.1:1");
    assert_eq!(process.wait_for_line("first", BOUND).await, "first");
}

#[tokio::test]
#[should_panic(expected = "sh ended without writing \"listening on\":\nno such thing")]
async fn a_process_that_ends_early_fails_the_wait_with_its_output() {
    let mut process = Process::start(Path::new(SHELL), &["-c", "echo no such thing; exit 64"], &[PATH]);
    process.wait_for_line("listening on", BOUND).await;
}

#[tokio::test]
async fn terminate_gives_the_exit_status_of_a_handler() {
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut process = Process::start(Path::new(SHELL), &["-c", script], &[PATH]);
    process.wait_for_line("ready", BOUND).await;
    assert!(process.is_running());
    assert_eq!(process.terminate(BOUND).await.code(), Some(7));
    assert!(!process.is_running());
}

#[tokio::test]
async fn kill_needs_no_cooperation() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let mut process = Process::start(Path::new(SHELL), &["-c", script], &[PATH]);
    process.wait_for_line("ready", BOUND).await;
    process.kill().await;
    assert!(!process.is_running());
}

#[tokio::test]
async fn what_outlives_its_parent_is_found_by_its_environment() {
    let mark = marker("orphan");
    let script = "setsid sleep 300 & echo started; exec sleep 301";
    let mut process = Process::start(Path::new(SHELL), &["-c", script], &[PATH, ("MARK", &mark)]);
    process.wait_for_line("started", BOUND).await;
    wait_until("both sleeps", BOUND, async || {
        descendants_alive(&mark).iter().filter(|p| p.contains("sleep 30")).count() == 2
    })
    .await;
    process.kill().await;
    let left = descendants_alive(&mark);
    assert_eq!(left.len(), 1, "the orphan and nothing else: {left:?}");
    assert!(left[0].contains("sleep 300"), "{left:?}");
    kill_descendants(&mark);
    wait_until("the orphan to be gone", BOUND, async || descendants_alive(&mark).is_empty()).await;
}

#[tokio::test]
async fn a_dropped_process_is_killed() {
    let mark = marker("dropped");
    let process = Process::start(Path::new("/usr/bin/sleep"), &["300"], &[("MARK", &mark)]);
    wait_until("the process to show", BOUND, async || !descendants_alive(&mark).is_empty()).await;
    drop(process);
    wait_until("the process to be gone", BOUND, async || descendants_alive(&mark).is_empty()).await;
}

#[tokio::test]
#[should_panic(expected = "for water to boil; last seen: \"lukewarm\"")]
async fn a_wait_that_runs_out_says_what_it_saw() {
    wait_for("water to boil", Duration::from_millis(50), async || Err::<(), _>("lukewarm")).await;
}

#[tokio::test]
#[should_panic(expected = "for an answer; last seen: nothing")]
async fn a_look_that_never_comes_back_is_bounded_too() {
    wait_for("an answer", Duration::from_millis(50), async || std::future::pending::<bool>().await).await;
}
