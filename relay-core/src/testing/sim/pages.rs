//! People who answer on the page that shows all of a diff.

use std::time::Duration;

use super::world::{Happening, World};
use crate::machine::{Choice, Event, Verdict};

impl World {
    /// A person reads a diff on its page and presses something there: once or again, the same or something else, in time or late.
    pub(super) fn opens_page(&mut self, who: usize, choice: &Choice) {
        let late = if self.percent(8) { self.plan.rules.approval_timeout } else { Duration::ZERO };
        for _ in 0..[1, 1, 1, 2, 3][self.index(5)] {
            let verdict = match self.index(5) {
                0..2 => Verdict::Approve,
                2 => Verdict::Reject,
                _ => Verdict::Changes { text: format!("make {} better", choice.run) },
            };
            let Choice { run, tree } = choice.clone();
            let event = Box::new(Event::Reviewed { run, tree, verdict, cause: None });
            let delay = late + self.between(Duration::from_millis(300), Duration::from_secs(30));
            self.after(delay, Happening::Presses { who, event });
        }
    }
}
