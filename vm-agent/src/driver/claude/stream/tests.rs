//! The recorded output of the real program, each file judged as a whole.

use std::fs;
use std::path::PathBuf;

use super::*;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/claude")
}

fn lines(fixture: &str) -> Vec<Line> {
    let text = fs::read_to_string(fixtures().join(fixture)).expect(fixture);
    text.lines().map(parse).collect()
}

/// The verdict on the first result, as a run sees it.
fn end(fixture: &str) -> Option<Verdict> {
    lines(fixture).into_iter().find_map(|line| match line {
        Line::Result(result) => Some(result.verdict()),
        _ => None,
    })
}

fn done(text: &str) -> Option<Verdict> {
    Some(Verdict::Done(text.to_owned()))
}

fn failed(text: &str) -> Option<Verdict> {
    Some(Verdict::Failed(text.to_owned()))
}

#[test]
fn every_recorded_run_ends_as_it_really_ended() {
    let edited = done("Done: created hello.txt and edited README.md.");
    let interrupted = failed("The agent was interrupted before it was done.");
    let table = [
        ("cc-acceptEdits-bash-denied.jsonl", edited.clone()),
        ("cc-bypass-edit-ok.jsonl", edited.clone()),
        ("cc-error-401-retries.jsonl", None),
        (
            "cc-error-529.jsonl",
            failed(
                "The Anthropic API did not answer the agent: API Error: Repeated 529 Overloaded errors. The API is at \
                 capacity — this is usually temporary. Try again in a moment. If it persists, check your inference \
                 gateway (127.0.0.1:8931).",
            ),
        ),
        (
            "cc-error-connrefused.jsonl",
            failed(
                "The Anthropic API did not answer the agent: API Error: Connection refused — a firewall or proxy may be \
                 blocking it (ECONNREFUSED)",
            ),
        ),
        ("cc-error-nokey.jsonl", failed(KEY_REFUSED)),
        ("cc-mcp-screenshot.jsonl", done("screenshot sent")),
        ("cc-partial-messages.jsonl", edited.clone()),
        ("cc-permission-prompt-tool-mcp.jsonl", edited.clone()),
        ("cc-resume-unknown-id.jsonl", Some(Verdict::UnknownSession)),
        ("cc-resume.jsonl", edited.clone()),
        ("cc-sigint.jsonl", interrupted.clone()),
        ("cc-sigterm.jsonl", None),
        ("cc-stdin-ask.jsonl", done("asked")),
        ("cc-stdin-closed.jsonl", edited.clone()),
        ("cc-stdin-interrupt.jsonl", interrupted.clone()),
        ("cc-stdin-perm.jsonl", edited.clone()),
        ("cc-stdin-permdeny.jsonl", interrupted.clone()),
        ("cc-stdin-slow.jsonl", interrupted),
        ("cc-whole.jsonl", edited),
    ];
    let recorded = fs::read_dir(fixtures()).unwrap().count();
    assert_eq!(recorded, table.len(), "a recording without a line in this table");
    for (fixture, expected) in table {
        assert_eq!(end(fixture), expected, "{fixture}");
    }
}

#[test]
fn no_recorded_line_is_noise_and_every_session_is_named() {
    for entry in fs::read_dir(fixtures()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let lines = lines(&name);
        assert!(!lines.contains(&Line::Noise), "{name}");
        let began = lines.iter().any(|line| matches!(line, Line::Init { .. }));
        assert!(began || name == "cc-resume-unknown-id.jsonl", "{name}");
    }
}

#[test]
fn a_refused_key_is_seen_at_the_first_retry() {
    let retries: Vec<_> = lines("cc-error-401-retries.jsonl")
        .into_iter()
        .filter_map(|line| match line {
            Line::ApiRetry { status } => Some(is_refusal(status)),
            _ => None,
        })
        .collect();
    assert_eq!(retries.first(), Some(&true));
    assert!(!lines("cc-error-529.jsonl").contains(&Line::ApiRetry { status: Some(401) }));
}

#[test]
fn words_and_tools_are_told_apart() {
    let blocks: Vec<_> = lines("cc-bypass-edit-ok.jsonl")
        .into_iter()
        .flat_map(|line| match line {
            Line::Assistant(blocks) => blocks,
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(blocks[0], Block::Text("I'll create the file.".to_owned()));
    assert!(matches!(&blocks[1], Block::Tool { name, input, .. } if name == "Write" && input["file_path"].is_string()));
}

#[test]
fn lines_that_nobody_foresaw_break_nothing() {
    for (line, expected) in [
        ("", Line::Noise),
        ("node: warning", Line::Noise),
        ("{\"type\":\"result\"", Line::Noise),
        ("[1,2]", Line::Other),
        ("{}", Line::Other),
        ("{\"type\":7}", Line::Other),
        ("{\"type\":\"hologram\",\"x\":[{}]}", Line::Other),
        ("{\"type\":\"system\",\"subtype\":\"init\"}", Line::Other),
        ("{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"--add-dir=/\"}", Line::Other),
        ("{\"type\":\"assistant\"}", Line::Assistant(Vec::new())),
        ("{\"type\":\"assistant\",\"message\":{\"content\":\"text\"}}", Line::Assistant(Vec::new())),
        ("{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"thinking\"},7]}}", Line::Assistant(Vec::new())),
        ("{\"type\":\"system\",\"subtype\":\"api_retry\",\"error_status\":null}", Line::ApiRetry { status: None }),
    ] {
        assert_eq!(parse(line), expected, "{line}");
    }
}

#[test]
fn only_a_uuid_is_a_session() {
    let init =
        |session: &str| parse(&format!("{{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"{session}\"}}"));
    let session = "0AF60324-d1fa-46c3-b4db-69a37af57c7a".to_owned();
    assert_eq!(init(&session), Line::Init { session });
    for wrong in [
        "",
        "s-1",
        "--dangerously",
        "0af60324-d1fa-46c3-b4db-69a37af57c7",
        "0af60324-d1fa-46c3-b4db-69a37af57c7a0",
        "0af60324-d1fa-46c3-b4db-69a37af57c7g",
        "0af60324d-1fa-46c3-b4db-69a37af57c7a",
        "0af60324-d1fa-46c3-b4db-69a37af57-7a",
        "0af60324-d1fa-46c3-b4db-69a37af57é7",
    ] {
        assert_eq!(init(wrong), Line::Other, "{wrong}");
    }
}

#[test]
fn a_result_of_changed_shape_still_ends_the_turn() {
    let Line::Result(result) = parse("{\"type\":\"result\",\"is_error\":false,\"result\":\"ok\",\"errors\":7}") else {
        panic!("not a result");
    };
    assert_eq!(result.verdict(), Verdict::Done("ok".to_owned()));
    let Line::Result(result) = parse("{\"type\":\"result\",\"num_turns\":\"many\"}") else { panic!("not a result") };
    assert!(matches!(result.verdict(), Verdict::Failed(_)));
}

#[test]
fn a_success_that_is_an_error_is_an_error() {
    let line = "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":true,\"terminal_reason\":\"api_error\",\
                \"api_error_status\":403,\"result\":\"no\"}";
    let Line::Result(result) = parse(line) else { panic!("not a result") };
    assert_eq!(result.verdict(), Verdict::Failed(KEY_REFUSED.to_owned()));
}
