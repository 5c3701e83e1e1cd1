//! One task, over two relays and a VM with the real CLI, as one trace.

use std::collections::BTreeSet;
use std::time::Duration;

use system_tests::fake_anthropic::FakeAnthropic;
use system_tests::fleet::{Fleet, FleetPlan, VmKind, person};
use system_tests::otlp::{OtlpSink, SpanSeen};
use system_tests::peers::claude_path;
use system_tests::wait::wait_for;

pub(super) const BOUND: Duration = Duration::from_secs(90);
/// Spans are exported this often here.
const EXPORT_MS: &str = "200";

pub(super) fn observed(sink: &OtlpSink) -> Vec<(String, String)> {
    let settings =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()), ("OTEL_BSP_SCHEDULE_DELAY", EXPORT_MS.to_owned())];
    settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

async fn fleet(sink: &OtlpSink, api: &FakeAnthropic) -> Fleet {
    let mut vm_settings = observed(sink);
    let claude = [
        ("AGENT_DRIVER", "claude".to_owned()),
        ("CLAUDE_PATH", claude_path().display().to_string()),
        ("ANTHROPIC_API_KEY", "sk-ant-api03-only-for-tests".to_owned()),
        ("ANTHROPIC_BASE_URL", api.url()),
    ];
    vm_settings.extend(claude.map(|(name, value)| (name.to_owned(), value)));
    Fleet::start(FleetPlan { vm: VmKind::Real, relay: observed(sink), vm_settings, ..FleetPlan::default() }).await
}

/// The span of this name in this trace, once it was exported.
pub(super) async fn exported(sink: &OtlpSink, name: &str, is_it: impl Fn(&SpanSeen) -> bool) -> SpanSeen {
    wait_for(&format!("the span {name:?}"), BOUND, async || {
        let spans = sink.spans();
        let found = spans.iter().find(|span| span.name == name && is_it(span)).cloned();
        found.ok_or_else(|| spans.into_iter().map(|span| (span.trace, span.name)).collect::<BTreeSet<_>>())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the tree is for whoever runs it")]
async fn an_approved_task_over_two_relays_is_one_trace() {
    let (sink, api) = (OtlpSink::start().await, FakeAnthropic::start().await);
    let fleet = fleet(&sink, &api).await;
    let person = person(0);
    assert_eq!(fleet.write_via(0, &person, "SM1", "SCENARIO:edit please").await, Some(200));
    fleet.reads(&person, "*approve* opens", BOUND).await;
    // An answer counts once the relay knows that the diff was taken, which is a moment after the person could read it.
    wait_for("the relay to hear that every message was taken", BOUND, async || {
        let taken = sink.spans().iter().filter(|span| span.name == "POST /Messages.json").count();
        let read = fleet.read(&person).len();
        if taken >= read { Ok(()) } else { Err((taken, read)) }
    })
    .await;
    assert_eq!(fleet.write_via(1, &person, "SM2", "approve").await, Some(200));
    fleet.reads(&person, "is pushed as branch", BOUND).await;

    let webhook = exported(&sink, "POST /webhook", |_| true).await;
    let trace = webhook.trace.clone();
    let ours = |span: &SpanSeen| span.trace == trace;
    let below = [
        ("effect start_run", "send mailbox"),
        ("POST /command", "effect start_run"),
        ("invoke_agent claude", "POST /command"),
        ("execute_tool Write", "invoke_agent claude"),
        ("execute_tool Bash", "invoke_agent claude"),
        ("effect decide", "send mailbox"),
        ("git push", "POST /approve"),
    ];
    for (name, above) in below {
        // What a span is part of ends after it, and is exported later.
        wait_for(&format!("{name} below {above}"), BOUND, async || {
            let spans = sink.spans();
            let is_below = |span: &&SpanSeen| {
                let above_it = ancestors(&spans, span);
                above_it.iter().any(|one| one == above) && above_it.last().is_some_and(|last| last == "POST /webhook")
            };
            let found = spans.iter().filter(|span| span.name == name && ours(span)).find(is_below);
            found.map(|_| ()).ok_or_else(|| sink.tree(&trace))
        })
        .await;
    }
    let run = exported(&sink, "invoke_agent claude", ours).await;
    assert_eq!(run.attributes.get("gen_ai.provider.name").map(String::as_str), Some("anthropic"));
    for kind in ["input_tokens", "output_tokens"] {
        let told = run.attributes.get(&format!("gen_ai.usage.{kind}"));
        assert!(told.is_some_and(|told| told.parse::<u64>().is_ok_and(|tokens| tokens > 0)), "{kind}: {run:?}");
    }
    // The last message about it, too.
    let says = async || sink.spans().iter().filter(|span| ours(span) && span.name == "POST /Messages.json").count();
    wait_for("the message with the branch", BOUND, async || if says().await >= 2 { Ok(()) } else { Err(says().await) })
        .await;

    let spans: Vec<SpanSeen> = sink.spans().into_iter().filter(ours).collect();
    let relays: BTreeSet<&str> =
        spans.iter().filter(|span| span.service == "textslash-relay").map(|span| span.instance.as_str()).collect();
    assert_eq!(relays.len(), 2, "both relays:\n{}", sink.tree(&trace));
    assert!(spans.iter().any(|span| span.service == "textslash-vm"));

    let answered = exported(&sink, "process mailbox", |span| span.links.contains(&trace)).await;
    assert_ne!(answered.trace, trace, "the answer came with a webhook, and a trace, of its own");
    let told: Vec<&String> = spans.iter().flat_map(|span| span.attributes.values()).collect();
    assert!(told.iter().all(|value| !value.contains("15550000000") && !value.contains("SCENARIO")), "{told:?}");
    println!("{}", sink.tree(&trace));
}

/// The names of the spans that a span is part of, the closest first.
fn ancestors(spans: &[SpanSeen], span: &SpanSeen) -> Vec<String> {
    let mut names = Vec::new();
    let mut above = spans.iter().find(|other| other.id == span.parent);
    while let Some(one) = above {
        names.push(one.name.clone());
        above = spans.iter().find(|other| other.id == one.parent);
    }
    names
}
