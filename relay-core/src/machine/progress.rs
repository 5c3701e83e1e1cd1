//! How much a person hears of what is going on: the progress of a run, gathered as they and their channel like it.
//!
//! Progress is never sent in the step that it came in. It waits for [`Timer::Progress`], which may be due at once; and
//! as deadlines are acted on after the whole inbox, lines that came together become one message.

use std::collections::VecDeque;

use crate::machine::conversation::Verbosity;
use crate::machine::{Phase, Step, Timer, split, text};
use crate::protocol::PROGRESS_CHARS_MAX;

/// Lines that wait where progress is gathered; the oldest make way. Elsewhere they wait for the end of the inbox only,
/// which has a bound of its own.
const GATHERED_LINES_MAX: usize = 12;

impl Step<'_> {
    pub(super) fn progress(&mut self, line: String) {
        if matches!(self.conversation.phase, Phase::Working { .. }) {
            self.conversation.progress.lines.push_back(line.chars().take(PROGRESS_CHARS_MAX).collect());
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
            self.say_notice(line);
        }
    }

    /// Settle when the lines that wait become a message.
    fn schedule_progress(&mut self) {
        let paid = self.conversation.address.as_ref().is_some_and(|address| address.channel.limits().paid);
        let gathered = match self.conversation.verbosity {
            Verbosity::Quiet => return self.forget_progress(),
            Verbosity::Normal => paid,
            Verbosity::Verbose => false,
        };
        let progress = &mut self.conversation.progress;
        if progress.lines.is_empty() {
            return;
        }
        let at = match progress.sent_at {
            Some(sent_at) if gathered => self.now.max(sent_at + self.rules.progress_interval),
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
        let limits = self.conversation.address.as_ref().map(|address| address.channel.limits());
        let mut lines: VecDeque<String> = std::mem::take(&mut self.conversation.progress.lines);
        if let Some(limits) = limits.filter(|limits| limits.paid) {
            // One message, whatever it costs in old lines.
            while lines.len() > 1 && split::units(&joined(&lines)) > limits.text_units_max {
                lines.pop_front();
            }
        }
        if !lines.is_empty() {
            self.conversation.progress.sent_at = Some(self.now);
            self.say_passing(joined(&lines));
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
