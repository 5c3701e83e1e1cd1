//! Where an agent's inquiries wait for the person's replies: one at a time, each with a number that a reply names.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The inquiries of one run.
#[derive(Debug, Default)]
pub struct Desk(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Inquiries so far.
    count: u32,
    open: Option<oneshot::Sender<String>>,
    /// The latest that was replied to.
    replied: u32,
}

/// What came of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replied {
    /// The agent has it.
    Now,
    /// That inquiry had a reply already.
    Before,
    /// The agent does not wait for it.
    Late,
}

impl Desk {
    /// A new inquiry: its number, and where its reply comes. Of an earlier one that is still open no reply is taken any more.
    pub fn open(&self) -> (u32, oneshot::Receiver<String>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.count += 1;
        state.open = Some(sender);
        (state.count, receiver)
    }

    /// The person replies to an inquiry.
    pub fn reply(&self, number: u32, reply: String) -> Replied {
        let mut state = self.state();
        if number != 0 && number == state.replied {
            return Replied::Before;
        }
        let open = if number == state.count { state.open.take() } else { None };
        match open.map(|open| open.send(reply)) {
            Some(Ok(())) => {
                state.replied = number;
                Replied::Now
            }
            Some(Err(_)) | None => Replied::Late,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_counts_once_and_for_the_inquiry_that_it_names() {
        let desk = Desk::default();
        assert_eq!(desk.reply(0, "never".into()), Replied::Late);
        assert_eq!(desk.reply(1, "early".into()), Replied::Late);
        let (first, mut reply) = desk.open();
        assert_eq!(desk.reply(first + 1, "another".into()), Replied::Late);
        assert_eq!(desk.reply(first, "yes".into()), Replied::Now);
        assert_eq!(desk.reply(first, "no".into()), Replied::Before);
        assert_eq!(reply.try_recv().unwrap(), "yes");
        let (second, reply) = desk.open();
        assert_eq!(desk.reply(first, "yes".into()), Replied::Before);
        drop(reply);
        assert_eq!(desk.reply(second, "too late".into()), Replied::Late);
    }
}
