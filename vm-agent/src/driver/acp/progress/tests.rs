//! What opencode 1.18.33 was seen to write, and what no agent was seen to write yet.

use std::fs;

use serde::Deserialize;
use serde_json::json;

use super::super::wire::{Line, parse};
use super::*;

fn lines(fixture: &str) -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/acp").join(fixture);
    let text = fs::read_to_string(path).expect(fixture);
    text.lines().map(parse).collect()
}

fn update(line: Line) -> Option<SessionUpdate> {
    match line {
        Line::Update(told) => Some(told.update),
        _ => None,
    }
}

/// All that is told of a recorded session, and the last words.
fn told(fixture: &str) -> (Vec<AgentEvent>, String) {
    let mut progress = Progress::new(Path::new("/data/repos/scratch/tree"));
    let told = lines(fixture).into_iter().filter_map(update).flat_map(|update| progress.next(update)).collect();
    (told, progress.last_words())
}

fn progress(text: &str) -> AgentEvent {
    AgentEvent::Progress(text.to_owned())
}

/// An update, as an agent would write it.
fn made(update: Value) -> SessionUpdate {
    SessionUpdate::deserialize(update).expect("an update")
}

fn chunk(message: &str, text: &str) -> SessionUpdate {
    made(
        json!({"sessionUpdate": "agent_message_chunk", "messageId": message, "content": {"type": "text", "text": text}}),
    )
}

#[test]
fn no_recorded_line_is_noise() {
    for fixture in ["opencode-edit.jsonl", "opencode-permission.jsonl", "opencode-cancelled.jsonl"] {
        let lines = lines(fixture);
        assert!(lines.len() > 5 && !lines.contains(&Line::Noise) && !lines.contains(&Line::Other), "{fixture}");
    }
}

#[test]
fn words_become_paragraphs_and_every_tool_one_line() {
    let (events, last) = told("opencode-edit.jsonl");
    assert_eq!(
        events,
        [
            progress("I'll create the file."),
            progress("✏️ Editing hello.txt"),
            progress("Now reading README."),
            progress("📖 Reading README.md"),
            progress("Editing README."),
            progress("✏️ Editing README.md"),
            progress("Running a command."),
            progress("▶️ cat hello.txt && git status --short && env"),
            AgentEvent::Cost(4_725),
        ]
    );
    assert_eq!(last, "Done: created hello.txt and edited README.md.");
}

#[test]
fn a_question_says_what_is_to_be_done() {
    let mut progress = Progress::new(Path::new("/data/repos/scratch/tree"));
    let mut questions = Vec::new();
    for line in lines("opencode-permission.jsonl") {
        match line {
            Line::Update(told) => drop(progress.next(told.update)),
            Line::Permission { asked, .. } => questions.push(progress.ask(asked.tool_call).1),
            _ => {}
        }
    }
    assert_eq!(
        questions,
        [
            "May the agent do this?\n✏️ Editing hello.txt",
            "May the agent do this?\n✏️ Editing README.md",
            "May the agent do this?\n▶️ cat hello.txt && git status --short && env",
        ]
    );
}

#[test]
fn a_question_shows_all_of_a_command() {
    let mut progress = Progress::new(Path::new("/w"));
    progress.next(chunk("m", "I must."));
    let call =
        json!({"toolCallId": "t", "kind": "execute", "title": "make", "rawInput": {"command": "make\nrm -rf `x`"}});
    let (told, question) = progress.ask(ToolCallUpdate::deserialize(call).expect("a call"));
    assert_eq!(told, [AgentEvent::Progress("I must.".to_owned())]);
    assert_eq!(question, "May the agent do this?\n▶️ make\n```make\nrm -rf 'x'```");
}

#[test]
fn a_question_says_that_it_shows_the_beginning_alone() {
    let mut progress = Progress::new(Path::new("/w"));
    let command = format!("true {}; rm -rf /w", "x".repeat(INPUT_CHARS_MAX));
    let call = json!({"toolCallId": "t", "kind": "execute", "title": "true", "rawInput": {"command": command}});
    let (_, question) = progress.ask(ToolCallUpdate::deserialize(call).expect("a call"));
    let chars = command.chars().count();
    assert!(
        question.ends_with(&format!("…```\n⚠️ This is the beginning; it has {chars} characters in all.")),
        "{question}"
    );
}

#[test]
fn a_tool_is_at_work_until_it_is_over() {
    let mut progress = Progress::new(Path::new("/data/repos/scratch/tree"));
    let at_work: Vec<bool> = lines("opencode-cancelled.jsonl")
        .into_iter()
        .filter_map(update)
        .map(|update| {
            progress.next(update);
            progress.is_at_work()
        })
        .collect();
    assert_eq!(at_work, [false, false, true, true, true, false, false]);
    // A cancelled turn tells a cost of nothing, which is not so.
    assert!(!told("opencode-cancelled.jsonl").0.iter().any(|event| matches!(event, AgentEvent::Cost(_))));
}

#[test]
fn a_tool_whose_title_says_it_all_is_told_at_once_and_never_twice() {
    let mut progress = Progress::new(Path::new("/w"));
    let call = |update: &str, status: &str, title: &str| {
        made(json!({"sessionUpdate": update, "toolCallId": "t1", "kind": "other", "title": title, "status": status}))
    };
    let line = vec![AgentEvent::Progress("🔧 Looking it up".to_owned())];
    assert_eq!(progress.next(call("tool_call", "pending", "Looking it up")), line);
    for (update, status) in
        [("tool_call_update", "in_progress"), ("tool_call_update", "completed"), ("tool_call_update", "completed")]
    {
        assert!(progress.next(call(update, status, "Looking it up")).is_empty());
    }
    assert!(!progress.is_at_work());
}

#[test]
fn another_message_begins_another_paragraph() {
    let mut progress = Progress::new(Path::new("/w"));
    assert!(progress.next(chunk("m1", "One ")).is_empty() && progress.next(chunk("m1", "and a half.")).is_empty());
    assert_eq!(progress.next(chunk("m2", "Two.")), [AgentEvent::Progress("One and a half.".to_owned())]);
    assert_eq!(progress.last_words(), "Two.");
}

#[test]
fn nothing_grows_without_end() {
    let mut progress = Progress::new(Path::new("/w"));
    for _ in 0..100 {
        progress.next(chunk("m", &"ä".repeat(10_000)));
    }
    for number in 0..2 * TOOLS_MAX {
        progress.next(made(json!({"sessionUpdate": "tool_call", "toolCallId": format!("t{number}"), "title": "x"})));
    }
    assert!(progress.words.len() <= WORDS_BYTES_MAX && progress.tools.len() <= TOOLS_MAX);
}
