//! A machine with a volume on Fly.io for each conversation, made when it is first needed and started when it is stopped.
//!
//! Making one takes longer than an effect may. It is done in a task of its own, which every asker of this relay shares: who
//! asks waits for it as long as they can, gets [`CallError::NoAnswer`] from their own bound, and asks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hmac::{Hmac, KeyInit, Mac};
use relay_core::id::ConversationId;
use relay_core::protocol::RefusalReason;
use relay_core::store::Store;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use super::{Asking, Place, VmDirectory};
use crate::config::FlyConfig;
use crate::vm::CallError;

pub mod api;
pub mod make;
pub mod raise;
pub mod record;
pub mod removal;
pub mod wire;

use api::{Api, MachineId};
use raise::Raising;

/// An address is known for so long after its VM has answered: then it is looked up again.
const KNOWN_FOR: Duration = Duration::from_secs(10 * 60);
/// So many addresses are known at most.
const KNOWN_MAX: usize = 10_000;

/// Why there is no machine to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It takes longer; asking again may find it further on.
    NotYet,
    /// Something is wrong that the person is told, and that may pass.
    Held(&'static str),
    /// What was there is gone for good.
    Lost(&'static str),
}

impl From<Trouble> for CallError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotYet => Self::NoAnswer,
            Trouble::Held(message) => Self::Busy { message: Some(message.to_owned()), in_use: false },
            Trouble::Lost(message) => Self::Refused { reason: RefusalReason::NotFound, message: message.to_owned() },
        }
    }
}

type Outcome = Result<MachineId, Trouble>;
type Search = Shared<BoxFuture<'static, Outcome>>;

/// The machines of one app.
pub struct FlyDirectory {
    raising: Arc<Raising>,
    known: Known,
    /// What is being done for whom, by this relay; apart from that, what is done for those for whom nothing is made.
    under_way: Arc<Mutex<HashMap<(ConversationId, bool), Search>>>,
    asides: TaskTracker,
}

impl FlyDirectory {
    /// Machines as `config` says, remembered in `store`; `secret` is what each one's own is made from.
    pub fn new(
        config: &FlyConfig,
        secret: SecretString,
        http: reqwest::Client,
        store: Arc<dyn Store>,
        asides: TaskTracker,
    ) -> Self {
        let api = Api::new(http, &config.app);
        let raising = Arc::new(Raising { api, store, config: config.clone(), secret });
        Self { raising, known: Known::default(), under_way: Arc::default(), asides }
    }

    fn place(&self, conversation: &ConversationId, machine: MachineId) -> Place {
        Place { base: self.raising.config.proxy_url.clone(), machine: Some(machine), secret: self.secret(conversation) }
    }

    /// The task that sees to this conversation's machine: the one that does already, or a new one.
    fn raise(&self, asking: &Asking) -> Search {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended and is still here ended in a panic.
        let key = (asking.conversation.clone(), asking.is_told);
        if let Some(shared) = under_way.get(&key).filter(|shared| shared.peek().is_none()) {
            return shared.clone();
        }
        let (raising, asking, tasks) = (Arc::clone(&self.raising), asking.clone(), Arc::clone(&self.under_way));
        let ended = key.clone();
        let task = self.asides.spawn(async move {
            let outcome = raising.raise(&asking).await;
            tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(&ended);
            outcome
        });
        let shared = task.map(|ended| ended.unwrap_or(Err(Trouble::NotYet))).boxed().shared();
        under_way.insert(key, shared.clone());
        shared
    }
}

#[async_trait]
impl VmDirectory for FlyDirectory {
    async fn find(&self, asking: &Asking) -> Result<Place, CallError> {
        let machine = match self.known.take(&asking.conversation) {
            Some(machine) => machine,
            None => self.raise(asking).await?,
        };
        Ok(self.place(&asking.conversation, machine))
    }

    fn answered(&self, conversation: &ConversationId, place: Place) {
        if let Some(machine) = place.machine {
            self.known.put(conversation.clone(), machine);
        }
    }

    fn secret(&self, conversation: &ConversationId) -> SecretString {
        secret_of(&self.raising.secret, conversation)
    }
}

/// What a conversation's machine signs with. Who knows it knows nobody else's.
pub fn secret_of(secret: &SecretString, conversation: &ConversationId) -> SecretString {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("vm\0{conversation}").as_bytes());
    hex::encode(mac.finalize().into_bytes()).into()
}

/// What a conversation's machine is called, and its volume. Fly.io lets no two machines of an app have the same name; of a
/// volume's, which may be thirty characters long, it does not look.
pub fn names(conversation: &ConversationId) -> (String, String) {
    let hash = hex::encode(&Sha256::digest(conversation.as_str())[..12]);
    (format!("vm-{hash}"), format!("vm_{hash}"))
}

/// The machines that have answered lately. One is taken out for each call and comes back when it has answered: after a call
/// that came to nothing, in whatever way, it is looked for anew.
#[derive(Default)]
struct Known(Mutex<HashMap<ConversationId, (MachineId, Instant)>>);

impl Known {
    fn take(&self, conversation: &ConversationId) -> Option<MachineId> {
        let (machine, since) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(conversation)?;
        (since.elapsed() < KNOWN_FOR).then_some(machine)
    }

    fn put(&self, conversation: ConversationId, machine: MachineId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.retain(|_, (_, since)| since.elapsed() < KNOWN_FOR);
        }
        // With so many at work at once the newest has to be looked up again.
        if known.len() < KNOWN_MAX {
            known.insert(conversation, (machine, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(name: &str) -> ConversationId {
        ConversationId::parse(name).unwrap()
    }

    #[test]
    fn each_conversation_has_names_and_a_secret_of_its_own() {
        let (one, two) = (conversation("c0ffee"), conversation("c0ffef"));
        let secret = SecretString::from("0123456789abcdef0123456789abcdef");
        assert_ne!(names(&one), names(&two));
        let (machine, volume) = names(&one);
        assert!(volume.len() <= 30 && machine.len() <= 63);
        assert!(volume.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
        let of = |conversation| secret_of(&secret, conversation).expose_secret().to_owned();
        assert!(of(&one) != of(&two) && of(&one).len() >= 32 && of(&one) == of(&one));
    }

    #[test]
    fn an_address_is_known_until_a_call_to_it_comes_to_nothing() {
        let known = Known::default();
        let machine = MachineId::try_from("148e127db25198".to_owned()).unwrap();
        let id = conversation("c0ffee");
        known.put(id.clone(), machine.clone());
        assert_eq!(known.take(&id), Some(machine));
        assert_eq!(known.take(&id), None, "nobody said that it answered");
    }

    #[test]
    fn no_more_addresses_are_known_than_there_is_room_for() {
        let known = Known::default();
        let machine = MachineId::try_from("148e127db25198".to_owned()).unwrap();
        for number in 0..=KNOWN_MAX {
            known.put(conversation(&format!("c{number}")), machine.clone());
        }
        assert_eq!(known.0.lock().unwrap().len(), KNOWN_MAX);
    }
}
