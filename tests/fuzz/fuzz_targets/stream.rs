//! Any line that an agent's program may write, or anything it has started: read, judged and put into words for people. None of
//! that may panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vm_agent::driver::acp;
use vm_agent::driver::claude::progress::Progress;
use vm_agent::driver::claude::stream::{Line, parse};

fuzz_target!(|output: &[u8]| {
    let mut progress = Progress::new(Path::new("/data/repos/demo/tree"));
    let mut told = acp::progress::Progress::new(Path::new("/data/repos/demo/tree"));
    for line in String::from_utf8_lossy(output).lines() {
        match acp::wire::parse(line) {
            acp::wire::Line::Update(update) => drop(told.next(update.update)),
            acp::wire::Line::Permission { asked, .. } => drop(told.ask(asked.tool_call)),
            _ => {}
        }
        match parse(line) {
            Line::Assistant(blocks) => blocks.iter().for_each(|block| drop(progress.next(block))),
            Line::Result(result) => {
                result.cost_microusd();
                drop(result.verdict());
            }
            Line::Init { session } => assert_eq!(session.len(), 36, "a UUID, which may become an argument"),
            Line::Request { .. } | Line::ToolResults(_) | Line::ApiRetry { .. } | Line::Other | Line::Noise => {}
        }
    }
});
