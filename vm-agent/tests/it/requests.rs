//! Requests that are refused, and questions that are answered.

use std::time::Duration;

use relay_core::protocol::{Answer, BODY_BYTES_MAX, Command, Health, Question, RunState, RunStatus, Task, signature};
use reqwest::StatusCode;
use vm_agent::clock;

use crate::support::vm::{PROGRAM, SECRET, Vm, run};
use crate::support::{bounded, eventually};

#[tokio::test]
async fn nothing_happens_without_a_signature() {
    let vm = Vm::demo().await;
    let wrong = signature::sign(b"another secret", clock::now(), "POST", "/command", b"{}");
    let old = signature::sign(SECRET.as_bytes(), clock::now() - Duration::from_secs(3600), "POST", "/command", b"{}");
    let moved = signature::sign(SECRET.as_bytes(), clock::now(), "POST", "/cancel", b"{}");
    for signed in [None, Some(wrong), Some(old), Some(moved), Some("t=1".to_owned())] {
        let answer = vm.send_signed("POST", "/command", b"{}".to_vec(), signed.as_deref()).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(answer.text().await.unwrap().contains("\"refused\":\"signature\""));
    }
    for (method, path) in [("POST", "/approve"), ("POST", "/cancel"), ("GET", "/runs/a-1"), ("GET", "/images/a.png")] {
        assert_eq!(vm.send_signed(method, path, Vec::new(), None).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn health_tells_the_world_that_it_is_up_and_the_relay_how_it_is() {
    let vm = Vm::demo().await;
    let answer = vm.send_signed("GET", "/health", Vec::new(), None).await;
    assert_eq!(answer.text().await.unwrap(), "{\"status\":\"ok\"}");
    assert_eq!(
        vm.send_signed("GET", "/health", Vec::new(), Some("t=1,v1=00")).await.status(),
        StatusCode::UNAUTHORIZED
    );
    let (run, _) = vm.prompt_for_changes(1, "write hello.txt").await;
    let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
    assert_eq!(
        (health.driver.as_str(), health.active_run, health.repository.as_deref()),
        ("demo", Some(run), Some("origin"))
    );
    assert!(health.free_bytes > 0 && health.last_delivered_at.is_some() && health.isolation.contains("user"));
    assert_eq!(health.driver_version, None, "the demo agent has no program");
}

#[tokio::test]
async fn bad_bodies_get_clear_answers() {
    let vm = Vm::demo().await;
    let large = vm.send("POST", "/command", vec![b' '; BODY_BYTES_MAX + 1]).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    for body in ["", "{}", "[]", "{\"conversation\":\"../x\",\"fence\":1,\"command\":{\"kind\":\"ask\"}}", "\u{0}"] {
        let answer = vm.send("POST", "/command", body.as_bytes().to_vec()).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    assert_eq!(vm.send("GET", "/runs/unknown-1", Vec::new()).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_second_run_waits_its_turn_and_a_repeated_one_changes_nothing() {
    let vm = Vm::demo().await;
    let first = vm.prompt(1, "slow work").await;
    let task = || Task::prompt("more");
    let repeated = vm.command(1, Command::Run { run: first.clone(), task: task() }).await;
    assert!(repeated.text().await.unwrap().contains("\"repeated\":true"));
    let second = vm.command(1, Command::Run { run: run(2), task: task() }).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(second.text().await.unwrap().contains("\"refused\":\"busy\""));
    let checkout = vm.ask(Question::Checkout { name: "x".to_owned(), create: true }).await;
    assert_eq!(checkout.status(), StatusCode::SERVICE_UNAVAILABLE);
    let status: RunStatus = vm.send("GET", &format!("/runs/{first}"), Vec::new()).await.json().await.unwrap();
    assert_eq!(status.state, RunState::Running);
}

#[tokio::test]
async fn a_relay_that_lost_the_conversation_is_refused() {
    let vm = Vm::demo().await;
    let ask = |fence| vm.command(fence, Command::Ask { question: Question::Repos });
    assert_eq!(ask(5).await.status(), StatusCode::OK);
    let stale = ask(4).await;
    assert_eq!(stale.status(), StatusCode::CONFLICT);
    assert!(stale.text().await.unwrap().contains("stale_fence"));
}

#[tokio::test]
async fn questions_are_answered_in_words() {
    let vm = Vm::demo().await;
    vm.prompt_for_changes(1, "write hello.txt").await;
    let show = |file: &str| Question::Show { file: file.to_owned() };
    for (question, expected) in [
        (Question::Diff, "+- write hello.txt"),
        (show("hello.txt"), "- write hello.txt"),
        (Question::Repos, "*origin* (current)"),
        (Question::Branch, "*main* (current)"),
        (Question::Clear, "new session"),
    ] {
        let answer = vm.ask(question.clone()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{question:?}");
        let Answer { text, code } = answer.json().await.unwrap();
        assert!(format!("{text}\n{}", code.unwrap_or_default()).contains(expected), "{question:?}: {text}");
    }
    assert_eq!(vm.ask(show("missing.txt")).await.status(), StatusCode::NOT_FOUND);
    for file in ["/etc/hostname", "../../fences.json"] {
        assert!(vm.ask(show(file)).await.status().is_client_error(), "{file}");
    }
}

#[tokio::test]
async fn an_idle_process_ends_and_one_with_a_pending_diff_does_not() {
    let mut vm = Vm::start(&[("AGENT_DRIVER", "demo"), ("IDLE_TIMEOUT_MS", "700")]).await;
    let (run, _) = vm.prompt_for_changes(1, "write hello.txt").await;
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    assert_eq!(vm.send_signed("GET", "/health", Vec::new(), None).await.status(), StatusCode::OK);
    vm.cancel(&run).await;
    assert_eq!(vm.exit().await.code(), Some(0));
}

#[tokio::test]
async fn every_fault_of_the_configuration_is_listed_and_the_exit_code_says_so() {
    let output = tokio::process::Command::new(PROGRAM).env_clear().env("VM_BIND", "nowhere").output();
    let output = bounded("the end of the process", output).await.unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64));
    for name in ["VM_BIND", "VM_SECRET", "EVENTS_URL", "AGENT_DRIVER"] {
        assert!(log.contains(name), "{log}");
    }
}

#[tokio::test]
async fn a_repository_that_cannot_be_cloned_is_told_with_the_run() {
    let vm = Vm::start(&[("AGENT_DRIVER", "demo"), ("REPO_URL", "/nowhere/at/all")]).await;
    let run = vm.prompt(1, "write hello.txt").await;
    let reason = eventually("the failure", async || match vm.relay.outcomes(&run).pop()? {
        relay_core::protocol::RunOutcome::Failed { reason, .. } => Some(reason),
        other => panic!("{other:?}"),
    });
    assert!(reason.await.contains("REPO_URL"));
}
