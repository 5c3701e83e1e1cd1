//! The same, of what operators see and do.

use async_trait::async_trait;
use relay_core::id::{ConversationId, NodeId};
use relay_core::store::operators::{Active, Beat, Deed, DeedOutcome, Node, Operators};
use relay_core::store::{Activity, DeadLetter, StoreError};

use super::LoggedStore;

#[async_trait]
impl Operators for LoggedStore {
    async fn list(&self, skip: usize, limit: usize) -> Result<Vec<ConversationId>, StoreError> {
        self.read("list", self.inner.operators().list(skip, limit)).await
    }

    async fn active(&self, activity: Activity, skip: usize, limit: usize) -> Result<Vec<Active>, StoreError> {
        self.read("active", self.inner.operators().active(activity, skip, limit)).await
    }

    async fn letters(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.read("letters", self.inner.operators().letters(after, limit)).await
    }

    async fn beat(&self, beat: &Beat) -> Result<bool, StoreError> {
        self.written("beat", self.inner.operators().beat(beat)).await
    }

    async fn call_roll(&self) -> Result<(), StoreError> {
        self.read("call_roll", self.inner.operators().call_roll()).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.read("nodes", self.inner.operators().nodes()).await
    }

    async fn drain(&self, node: &NodeId, drain: bool) -> Result<bool, StoreError> {
        self.written("drain", self.inner.operators().drain(node, drain)).await
    }

    async fn remember(&self, deed: &Deed) -> Result<(), StoreError> {
        self.written("remember", self.inner.operators().remember(deed)).await
    }

    async fn conclude(&self, deed: &Deed, outcome: &DeedOutcome) -> Result<(), StoreError> {
        self.written("conclude", self.inner.operators().conclude(deed, outcome)).await
    }

    async fn deeds(&self, skip: usize, limit: usize) -> Result<Vec<Deed>, StoreError> {
        self.read("deeds", self.inner.operators().deeds(skip, limit)).await
    }
}
