//! Reports as entries of the store that the relays share, and a look afterwards whether a relay has taken them.
//!
//! What is published is durable, and wakes one relay, which may die before it has taken it. The next report of the run
//! wakes another; after a run's last report somebody has to see to that here. What is to be seen to is not kept on disk:
//! while a relay waits for something of a run, the conversation is due in the store after a silence, and whichever relay
//! finds that takes what was published. So a VM that is restarted, or told to end, only makes it later.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use relay_core::id::ConversationId;
use relay_core::protocol::{Report, VmEvent};
use relay_core::store::StoreError;
use relay_core::store::redis::OpenError;
use relay_core::store::redis::publish::Publisher;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::Delivery;

/// A relay that is up has taken a report by then. Every look is a billed command.
const LOOK_PAUSE_MIN: Duration = Duration::from_secs(5);
/// While all relays are away.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Publishes to one deployment.
#[derive(Debug)]
pub struct Published {
    publisher: Publisher,
    /// Conversations in which a run has made its last report, and no relay is known to have taken it.
    untaken: HashMap<ConversationId, Look>,
}

/// When to look whether a relay has taken what was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    at: Instant,
    pause: Duration,
}

impl Published {
    /// Publishes to the deployment `namespace` on the server at `url`, which need not be up.
    pub fn open(url: &SecretString, namespace: &str) -> Result<Self, OpenError> {
        Ok(Self { publisher: Publisher::open(url.expose_secret(), namespace)?, untaken: HashMap::new() })
    }

    pub(super) async fn deliver(&mut self, report: &Report) -> Delivery {
        match self.publisher.publish(report).await {
            Ok(()) => {
                if is_awaited(&report.event) {
                    self.untaken.insert(report.conversation.clone(), Look::first(Instant::now()));
                }
                Delivery::Delivered
            }
            Err(error) => Delivery::Failed(reason(&error)),
        }
    }

    /// Look where it is time to, and wake a relay where not everything was taken. Whether it looked anywhere.
    pub(super) async fn follow_up(&mut self) -> Result<bool, String> {
        let now = Instant::now();
        let due = |look: &Look| look.at <= now;
        let due: Vec<_> = self.untaken.iter().filter(|(_, look)| due(look)).map(|(id, _)| id.clone()).collect();
        let mut looked = Ok(!due.is_empty());
        for conversation in due {
            match self.look(&conversation).await {
                Ok(true) => drop(self.untaken.remove(&conversation)),
                left => {
                    if let Some(look) = self.untaken.get_mut(&conversation) {
                        *look = look.next(Instant::now());
                    }
                    looked = looked.and(left.map(|_| true).map_err(|error| reason(&error)));
                }
            }
        }
        looked
    }

    /// Whether everything was taken; when not, a relay has been woken.
    async fn look(&self, conversation: &ConversationId) -> Result<bool, StoreError> {
        let taken = self.publisher.taken(conversation).await?;
        if !taken {
            self.publisher.wake(conversation).await?;
        }
        Ok(taken)
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        self.untaken.values().map(|look| look.at).min()
    }

    pub(super) fn untaken(&self) -> usize {
        self.untaken.len()
    }
}

impl Look {
    fn first(now: Instant) -> Self {
        Self { at: now + LOOK_PAUSE_MIN, pause: LOOK_PAUSE_MIN }
    }

    fn next(self, now: Instant) -> Self {
        let pause = (self.pause * 2).min(LOOK_PAUSE_MAX);
        Self { at: now + pause, pause }
    }
}

/// Whether somebody waits for it, or the run is silent after this. Of any other report the next one wakes a relay as well.
fn is_awaited(event: &VmEvent) -> bool {
    matches!(event, VmEvent::Finished { .. } | VmEvent::Decided { .. } | VmEvent::Image { .. })
}

/// The error with its causes.
fn reason(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut deeper = error.source();
    while let Some(cause) = deeper {
        text = format!("{text}: {cause}");
        deeper = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer_but_do_not_end() {
        let now = Instant::now();
        let mut look = Look::first(now);
        assert_eq!(look.at - now, LOOK_PAUSE_MIN);
        for _ in 0..20 {
            let next = look.next(look.at);
            assert!(next.pause >= look.pause && next.pause <= LOOK_PAUSE_MAX && next.at == look.at + next.pause);
            look = next;
        }
        assert_eq!(look.pause, LOOK_PAUSE_MAX);
    }
}
