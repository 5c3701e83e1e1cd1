//! The largest fence seen per conversation, on disk before it is acted on: a relay that has lost a conversation cannot move
//! its run any more, whatever restarts in between.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use relay_core::id::{ConversationId, Fence};
use relay_core::protocol::RefusalReason;

use crate::files;
use crate::metrics::{Layer, metrics};
use crate::refusal::Refused;

/// Conversations that one VM may serve. A VM belongs to one person.
const CONVERSATIONS_MAX: usize = 1_000;

/// The fences of all conversations.
#[derive(Debug)]
pub struct Fences {
    path: PathBuf,
    seen: Mutex<BTreeMap<ConversationId, Fence>>,
}

impl Fences {
    /// Read them from `path`; none, when there is no such file.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let seen = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, seen: Mutex::new(seen) })
    }

    /// Refuse a fence that is smaller than the largest seen; remember one that is larger.
    pub fn pass(&self, conversation: &ConversationId, fence: Fence) -> Result<(), Refused> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = seen.get(conversation).copied();
        if largest.is_some_and(|largest| fence < largest) {
            metrics().refused(Layer::Fence);
            return Err(Refused::new(RefusalReason::StaleFence, "Another relay has taken this conversation over."));
        }
        if largest == Some(fence) {
            return Ok(());
        }
        if largest.is_none() && seen.len() >= CONVERSATIONS_MAX {
            return Err(Refused::new(RefusalReason::Unavailable, "This VM serves too many conversations already."));
        }
        let mut next = seen.clone();
        next.insert(conversation.clone(), fence);
        let text = serde_json::to_vec(&next).map_err(|error| Refused::disk(&error.into()))?;
        files::replace(&self.path, &text).map_err(|error| Refused::disk(&error))?;
        *seen = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(name: &str) -> ConversationId {
        ConversationId::parse(name).unwrap()
    }

    #[test]
    fn a_smaller_fence_is_refused_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fences.json");
        let fences = Fences::open(path.clone()).unwrap();
        assert_eq!(fences.pass(&conversation("a"), Fence(5)), Ok(()));
        assert_eq!(fences.pass(&conversation("a"), Fence(5)), Ok(()));
        assert_eq!(fences.pass(&conversation("b"), Fence(1)), Ok(()));
        for fences in [fences, Fences::open(path).unwrap()] {
            let refused = fences.pass(&conversation("a"), Fence(4)).unwrap_err();
            assert_eq!(refused.reason, RefusalReason::StaleFence);
        }
    }

    #[test]
    fn a_fence_that_cannot_be_kept_is_not_passed() {
        let directory = tempfile::tempdir().unwrap();
        let fences = Fences::open(directory.path().join("missing/fences.json")).unwrap();
        assert_eq!(fences.pass(&conversation("a"), Fence(5)).unwrap_err().reason, RefusalReason::Unavailable);
        assert_eq!(fences.pass(&conversation("a"), Fence(4)).unwrap_err().reason, RefusalReason::Unavailable);
    }
}
