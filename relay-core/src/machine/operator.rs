//! What an operator does to a conversation. The person is told that it was one.

use crate::machine::messages::Stopped;
use crate::machine::{LogWhat, Step, text};

impl Step<'_> {
    /// Stop what goes on; a VM that was given up is asked once more. Where there is nothing to stop the person need not know that
    /// somebody tried.
    pub(super) fn cancel_by_operator(&mut self) {
        match self.stop() {
            Stopped::Nothing { arriving: 0 } => {}
            Stopped::TooLate => self.stir(),
            Stopped::Nothing { arriving } => {
                self.log_operator("cancel");
                self.say(text::dropped_by_operator(arriving));
            }
            Stopped::Run { run, dropped } => {
                self.log_operator("cancel");
                self.say_settled(text::cancelled_by_operator(&run, dropped));
            }
        }
    }

    fn log_operator(&mut self, action: &str) {
        self.log(LogWhat::Operator { action: action.to_owned() });
    }
}
