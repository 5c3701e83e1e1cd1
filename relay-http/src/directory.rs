//! Where a conversation's VM is, and what signs between it and the relay.

use std::sync::Arc;

use async_trait::async_trait;
use relay_core::id::{ConversationId, EffectSeq};
use relay_core::store::Store;
use relay_core::time::Timestamp;
use secrecy::SecretString;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::{Config, VmsConfig};
use crate::vm::CallError;

pub mod fly;

use fly::FlyDirectory;
use fly::api::MachineId;

/// Knows where each conversation's VM is, and has one made and woken where that is its task.
#[async_trait]
pub trait VmDirectory: Send + Sync {
    /// Where to call. The caller bounds how long it waits; what was begun for it goes on, and asking again finds it further on.
    async fn find(&self, asking: &Asking) -> Result<Place, CallError>;

    /// The VM of `conversation` has answered from there. A place from which nobody answers is not told, and not given again
    /// without another look.
    fn answered(&self, conversation: &ConversationId, place: Place);

    /// What signs both ways between the relay and that conversation's VM.
    fn secret(&self, conversation: &ConversationId) -> SecretString;
}

/// For what a VM is looked for.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Whose VM.
    pub conversation: ConversationId,
    /// The effect that needs it. Those that come after it are asked for only when its outcome is written down.
    pub effect: EffectSeq,
    /// Whether the person is told when it is refused. For nothing else is a VM made.
    pub is_told: bool,
    /// When a relay took in their latest message.
    pub written_at: Timestamp,
}

impl Asking {
    /// For somebody who only looks: nothing is made for that.
    pub fn to_look(conversation: ConversationId) -> Self {
        Self { conversation, effect: EffectSeq::default(), is_told: false, written_at: Timestamp::default() }
    }
}

/// Where a VM answers.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address.
    pub base: Url,
    /// The machine behind it, where there are several.
    pub machine: Option<MachineId>,
    /// Signs both ways.
    pub secret: SecretString,
}

/// The directory that the settings ask for. Machines are made and woken in tasks of `asides`.
pub fn open(
    config: &Config,
    http: reqwest::Client,
    store: Arc<dyn Store>,
    asides: TaskTracker,
) -> Arc<dyn VmDirectory> {
    let secret = config.vm_secret.clone();
    match &config.vms {
        VmsConfig::Static(base) => Arc::new(StaticDirectory { base: base.clone(), secret }),
        VmsConfig::Fly(fly) => Arc::new(FlyDirectory::new(fly, secret, http, store, asides)),
    }
}

/// One VM for everybody.
pub struct StaticDirectory {
    /// Where it answers.
    pub base: Url,
    /// Signs both ways.
    pub secret: SecretString,
}

#[async_trait]
impl VmDirectory for StaticDirectory {
    async fn find(&self, _: &Asking) -> Result<Place, CallError> {
        Ok(Place { base: self.base.clone(), machine: None, secret: self.secret.clone() })
    }

    fn answered(&self, _: &ConversationId, _: Place) {}

    fn secret(&self, _: &ConversationId) -> SecretString {
        self.secret.clone()
    }
}
