//! How much a person hears of what is going on: the progress of a run, gathered as they and their channel like it.
//!
//! Progress is never sent in the step that it came in. It waits for [`Timer::Progress`], which may be due at once; and
//! as deadlines are acted on after the whole inbox, lines that came together become one message.

use std::collections::VecDeque;

use crate::machine::conversation::Verbosity;
use crate::machine::effect::Say;
use crate::machine::log::LogWhat;
use crate::machine::{Phase, Step, Timer, markup, split, text};
use crate::protocol::PROGRESS_CHARS_MAX;

/// Lines that wait where progress is gathered; the oldest make way. Elsewhere they wait for the end of the inbox only,
/// which has a bound of its own.
const GATHERED_LINES_MAX: usize = 12;

/// The time between two messages of one run doubles so often.
const DOUBLINGS_MAX: u32 = 4;

impl Step<'_> {
    pub(super) fn progress(&mut self, line: String) {
        if matches!(self.conversation.phase, Phase::Working { .. }) {
            let line: String = line.chars().take(PROGRESS_CHARS_MAX).collect();
            let line = markup::from_markdown(&line);
            self.log(LogWhat::Progress { text: line.clone() });
            self.conversation.progress.lines.push_back(line);
            self.schedule_progress();
        }
    }

    /// The person asked to hear more, or less.
    pub(super) fn turn_to(&mut self, verbosity: Verbosity) {
        self.conversation.verbosity = verbosity;
        self.say(text::verbosity(verbosity));
        self.schedule_progress();
    }

    /// A task was begun at once: say so to a quiet person, who will hear nothing else before its result. Others hear of
    /// its start.
    pub(super) fn acknowledge(&mut self) {
        if let (Verbosity::Quiet, Some(run)) = (self.conversation.verbosity, self.conversation.run()) {
            let line = text::taken_on(run);
            self.say_with_link(line, true);
        }
    }

    /// Settle when the lines that wait become a message.
    fn schedule_progress(&mut self) {
        let paid = self.capabilities().is_some_and(|channel| channel.paid);
        let gathered = match self.conversation.verbosity {
            Verbosity::Quiet => return self.forget_progress(),
            Verbosity::Normal => paid,
            Verbosity::Verbose => false,
        };
        let progress = &mut self.conversation.progress;
        if progress.lines.is_empty() {
            return;
        }
        // The longer a run takes, the less news one more line is.
        let interval = self.rules.progress_interval * 2u32.pow(progress.messages.saturating_sub(1).min(DOUBLINGS_MAX));
        let at = match progress.sent_at {
            Some(sent_at) if gathered => self.now.max(sent_at + interval),
            _ => self.now,
        };
        if gathered {
            let surplus = progress.lines.len().saturating_sub(GATHERED_LINES_MAX);
            progress.lines.drain(..surplus);
        }
        self.conversation.timers.insert(Timer::Progress, at);
    }

    /// Send what waits, as one message.
    pub(super) fn flush_progress(&mut self) {
        self.clear(&[Timer::Progress]);
        let paid = self.capabilities().filter(|channel| channel.paid).copied();
        let mut lines: VecDeque<String> = std::mem::take(&mut self.conversation.progress.lines);
        if let Some(channel) = paid {
            // One message, whatever it costs in old lines.
            while lines.len() > 1 && split::units(&joined(&lines)) > channel.text_units_max {
                lines.pop_front();
            }
        }
        if !lines.is_empty() {
            self.conversation.progress.sent_at = Some(self.now);
            self.conversation.progress.messages += 1;
            // A quiet person has none: it was forgotten as it came.
            self.send(Say { text: joined(&lines), passing: true, ..Say::default() });
        }
    }

    /// Send what would be sent at the end of this inbox, because something that ends the run comes before that.
    pub(super) fn flush_due_progress(&mut self) {
        if self.conversation.timers.get(&Timer::Progress).is_some_and(|&at| at <= self.now) {
            self.flush_progress();
        }
    }

    /// Send nothing of what waits.
    pub(super) fn forget_progress(&mut self) {
        self.conversation.progress.lines.clear();
        self.clear(&[Timer::Progress]);
    }
}

fn joined(lines: &VecDeque<String>) -> String {
    lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}
