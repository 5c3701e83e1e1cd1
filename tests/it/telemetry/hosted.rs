//! Traces that go to a hosted backend, which wants to know who sends them.

use system_tests::server::{Server, empty};
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::wait_for;

/// As it is written in a setting: its space may not stand there.
const HEADERS: &str = "authorization=Bearer%20of-the-backend,x-team=ada";

async fn stack(backend: &Server, level: &str) -> Stack {
    let mut plan = Plan::default();
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", backend.url().as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", HEADERS),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("RUST_LOG", level),
    ] {
        plan = plan.relay(name, value).vm(name, value);
    }
    let stack = Stack::start(plan).await;
    stack.console().send("add a line to hello.txt", BOUND).await;
    stack
}

#[tokio::test]
async fn both_programs_send_the_headers_that_let_their_traces_in_and_log_none() {
    let backend = Server::start(|_| std::future::ready(empty(200))).await;
    let stack = stack(&backend, "debug").await;
    for program in ["textslash-relay", "textslash-vm"] {
        let export = wait_for(&format!("traces of {program}"), BOUND, async || {
            let requests = backend.requests();
            requests.iter().find(|request| request.mentions(program)).cloned().ok_or(requests.len())
        })
        .await;
        assert_eq!(export.path, "/v1/traces");
        let sent = ["authorization", "x-team"].map(|name| export.header(name));
        assert_eq!(sent, [Some("Bearer of-the-backend"), Some("ada")], "{program}");
    }
    assert!(!stack.logs().contains("of-the-backend"), "{}", stack.logs());
}

#[tokio::test]
async fn a_backend_that_lets_nobody_in_is_told_of_in_the_log() {
    let backend = Server::start(|_| std::future::ready(empty(401))).await;
    let mut stack = stack(&backend, "info").await;
    for process in [&mut stack.relay, &mut stack.vm] {
        process.as_mut().expect("it runs").wait_for_line("status code: 401", BOUND).await;
    }
}
