//! What tests of the store and of the whole share: the conformance suite, a store that fails by seed, and a simulated
//! world of relays, VMs and people.

use crate::id::Nonce;
use crate::store::{Commit, Held};
use crate::time::Timestamp;

pub mod conformance;
pub mod faulty;
pub mod sim;

/// The first commit of whoever was handed this: all that came is dealt with, nothing is asked for, and the conversation is given
/// back as it was.
pub fn giving_back(held: &Held, nonce: Nonce, now: Timestamp) -> Commit {
    Commit {
        fence: held.fence,
        nonce,
        previous: held.nonce.clone(),
        now,
        consumed: held.inbox.len(),
        acked: Vec::new(),
        effects: Vec::new(),
        dead: Vec::new(),
        log: Vec::new(),
        conversation: held.conversation.clone(),
        activity: None,
        deadline: None,
        release: true,
    }
}
