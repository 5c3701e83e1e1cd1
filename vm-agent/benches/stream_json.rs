//! How fast what Claude Code writes is read: lines of the kinds that it really writes, in the mix of a run that reads files and
//! runs commands, through the same reader and parser as in a run. `--check` exits 1 when the figure is missed.
#![expect(clippy::print_stdout, reason = "printing is this program's purpose")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};
use vm_agent::driver::claude::stream::{self, Line};
use vm_agent::driver::lines::{self, Lines};

/// Bytes of the run.
const RUN_BYTES: usize = 10_000_000;
/// A line as long as a file that was read, which is most of what a long run writes.
const FILE_BYTES: usize = 20_000;
const RUNS: usize = 15;
/// Megabytes (10⁶ bytes) a second, at least.
const MEGABYTES_PER_SECOND_MIN: f64 = 100.0;
const LINE_BYTES_MAX: usize = 1 << 24;

fn main() -> ExitCode {
    let is_checked = std::env::args().any(|argument| argument == "--check");
    let output = output();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut speeds: Vec<f64> = (0..RUNS).map(|_| runtime.block_on(speed(&output))).collect();
    speeds.sort_by(f64::total_cmp);
    let median = speeds[RUNS / 2];
    let is_met = median >= MEGABYTES_PER_SECOND_MIN;
    println!("A run of {:.1} MB of stream-json, read {RUNS} times", output.len() as f64 / 1e6);
    println!(
        "  {}  MB/s: {median:.0} ({:.0}–{:.0}), at least {MEGABYTES_PER_SECOND_MIN}",
        if is_met { "ok    " } else { "MISSED" },
        speeds[0],
        speeds[RUNS - 1],
    );
    if is_checked && !is_met { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What a long run writes: each line of the corpus in turn, and a file that was read after each of the agent's own lines.
fn output() -> Vec<u8> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/stream");
    let mut files: Vec<_> =
        fs::read_dir(&corpus).expect("the corpus").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let lines: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).expect("a line of the corpus")).collect();
    let file = json!({"type": "user", "message": {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": code(FILE_BYTES)},
    ]}});
    let file = file.to_string().into_bytes();
    let mut output = Vec::with_capacity(RUN_BYTES + FILE_BYTES);
    for line in lines.iter().cycle() {
        let is_agents = serde_json::from_slice::<Value>(line).is_ok_and(|line| line["type"] == "assistant");
        for line in [line].into_iter().chain(is_agents.then_some(&file)) {
            output.extend_from_slice(line.trim_ascii());
            output.push(b'\n');
        }
        if output.len() >= RUN_BYTES {
            return output;
        }
    }
    output
}

/// Text with as many characters to be escaped as code has.
fn code(bytes: usize) -> String {
    let lines = (1..).map(|number| format!("    let name_{number} = \"a value with\\ttabs\"; // line {number}\n"));
    let mut text = String::new();
    lines
        .take_while(|line| {
            text.push_str(line);
            text.len() < bytes
        })
        .for_each(drop);
    text
}

async fn speed(output: &[u8]) -> f64 {
    let began = Instant::now();
    let mut reader = Lines::new(output, LINE_BYTES_MAX);
    let (mut read, mut understood) = (0, 0);
    while let Some(line) = reader.next().await {
        let lines::Line::Whole(text) = line else { continue };
        read += 1;
        understood += usize::from(!matches!(stream::parse(&text), Line::Noise));
    }
    let took = began.elapsed();
    assert_eq!(read, understood, "every line is JSON");
    output.len() as f64 / 1e6 / took.as_secs_f64()
}
