//! What the agent of a fake VM asks. Two inquiries, one after the other; with a number in the text of the run, so many options are
//! to choose from. With `brief` in it, it waits for none of the replies.

use std::time::Duration;

use relay_core::id::RunId;
use relay_core::protocol::{Accepted, InquiryOption, RefusalReason, RunState, VmEvent};

use super::Refused;
use super::runs::Runs;

/// What there is to choose from.
const COLOURS: [&str; 5] = ["Red", "Blue", "Green", "Dark grey", "White"];
const INQUIRIES: u32 = 2;
/// Between two looks for a reply.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

impl Runs {
    /// The agent asks what the text of its run has it ask, and waits for the replies.
    pub(super) async fn ask_all(&self, run: &RunId, text: &str) {
        if !text.contains("choose") {
            return;
        }
        let count = text.split(' ').find_map(|word| word.parse().ok()).unwrap_or(2);
        for number in 1..=INQUIRIES {
            self.ask(run, number, count);
            if text.contains("brief") {
                self.rest(run, 60).await;
                self.with(run, |entry| {
                    if entry.open.take().is_some() {
                        entry.report_at_work(VmEvent::InquiryOver { number });
                    }
                });
            }
            while self.with(run, |entry| entry.open.is_some() && entry.run.state == RunState::Running) {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        }
    }

    fn ask(&self, run: &RunId, number: u32, count: usize) {
        let option = |label: &&str| InquiryOption { label: (*label).to_owned(), description: String::new() };
        let options = COLOURS.iter().take(count).map(option).collect();
        let text = format!("Which colour is number {number}?");
        self.with(run, |entry| {
            entry.open = Some(number);
            entry.report_at_work(VmEvent::Inquiry { number, text, options, several: false, timeout_ms: 600_000 });
        });
    }

    pub(super) fn reply(&self, run: &RunId, number: u32, reply: String) -> Result<Accepted, Refused> {
        let mut record = self.lock();
        let late = (404, RefusalReason::NotFound, "The agent no longer waits for an answer.");
        let entry = record.entry(run).ok_or(late)?;
        let repeated = entry.run.replies.iter().any(|(replied, _)| *replied == number);
        if !repeated {
            entry.open.take_if(|open| *open == number).ok_or(late)?;
            entry.run.replies.push((number, reply));
        }
        Ok(Accepted { run: run.clone(), repeated })
    }
}
