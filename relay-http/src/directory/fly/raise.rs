//! Finds a conversation's machine, makes it where there is none, and starts it.
//!
//! Each step begins with a look at what is there, so it does not matter at which one a relay before this one has died, or which
//! answer was lost. What is missing is made by [`make`](super::make). Nothing here is broken off in the middle of a step, so that
//! each call's maker lives to see what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_core::id::ConversationId;
use relay_core::store::{Reserve, Reserved, Store, StoreError};
use secrecy::SecretString;

use super::api::{Api, ApiError, MachineId};
use super::record::Record;
use super::wire::Machine;
use super::{Trouble, names};
use crate::clock;
use crate::config::FlyConfig;
use crate::directory::Asking;

/// A machine is up after seconds; what takes longer is looked at anew by the next who asks.
pub(super) const RAISE_TIMEOUT: Duration = Duration::from_secs(25);
/// A look that found nothing to do is repeated after this long.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// One question whether a machine is started.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// Fly.io allows one call a second of each kind to an app; all relays stand in one line for it.
const APP_CALL_INTERVAL: Duration = Duration::from_secs(1);
/// Where the line is longer, it is stood in anew later.
const APP_CALL_WAIT_MAX: Duration = Duration::from_secs(10);

const LOST: &str = "Your VM's disk is gone: the repositories on it, parked work and the agent's memory. What was pushed is \
                    not touched. Send your task again, and you get a new VM with an empty disk.";
pub(super) const UNREACHABLE: &str =
    "The machine that your VM is on can't be reached at Fly.io. Nothing of yours is touched.";
const FAILED: &str = "Your VM does not start at Fly.io; whoever runs this relay has to look at it.";
const REFUSED: &str = "Fly.io refuses to see to your VM; whoever runs this relay has to look at its settings.";

/// What it takes to raise machines.
pub struct Raising {
    /// The API.
    pub api: Api,
    /// What the relays share.
    pub store: Arc<dyn Store>,
    /// What machines are to be.
    pub config: FlyConfig,
    /// What each machine's secret is made from.
    pub secret: SecretString,
}

/// How far a step has come.
pub(super) enum Step {
    /// It is started.
    Up(MachineId),
    /// Something was done; look again.
    Further,
    /// Somebody else is at it, or it takes a while.
    Wait,
}

impl From<StoreError> for Trouble {
    fn from(_: StoreError) -> Self {
        Self::NotYet
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused { .. } => {
                tracing::error!(%error, "a VM can't be seen to: look at FLY_API_TOKEN, VM_APP, VM_IMAGE, VM_REGION and the limits of the organization");
                Self::Held(REFUSED)
            }
            ApiError::NotFound => {
                tracing::error!("there is no app VM_APP at Fly.io, or FLY_API_TOKEN is not for it");
                Self::Held(REFUSED)
            }
            ApiError::NoAnswer | ApiError::Limited | ApiError::Conflict => Self::NotYet,
        }
    }
}

impl Raising {
    /// The conversation's machine, started.
    pub async fn raise(&self, asking: &Asking) -> Result<MachineId, Trouble> {
        let asked = Instant::now();
        while asked.elapsed() < RAISE_TIMEOUT {
            match self.step(asking).await {
                Ok(Step::Up(machine)) => return Ok(machine),
                Ok(Step::Further) => {}
                Ok(Step::Wait) | Err(Trouble::NotYet) => tokio::time::sleep(LOOK_PAUSE).await,
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::NotYet)
    }

    async fn step(&self, asking: &Asking) -> Result<Step, Trouble> {
        let conversation = &asking.conversation;
        let record = Record::read(&*self.store, conversation).await?;
        if let Some(machine) = self.machine(conversation, &record).await? {
            let found = Record {
                machine: Some(machine.id.clone()),
                volume: machine.volume().cloned().or(record.volume.clone()),
                ..Record::default()
            };
            if found != record {
                self.remember(conversation, &found).await?;
            }
            return self.start(&machine).await;
        }
        let Some(recorded) = &record.volume else {
            return match asking.is_told {
                true => self.make(conversation, self.make_volume(conversation)).await,
                false => Err(Trouble::Lost(LOST)),
            };
        };
        match self.api.volume(recorded).await? {
            Some(volume) => self.make(conversation, self.make_machine(conversation, &record, &volume)).await,
            None => self.lost(asking, record).await,
        }
    }

    /// The machine, where there is one: the one that is remembered, else whichever says that it is this conversation's.
    async fn machine(&self, conversation: &ConversationId, record: &Record) -> Result<Option<Machine>, Trouble> {
        if let Some(id) = &record.machine
            && let Some(machine) = self.api.machine(id).await?
        {
            return Ok(Some(machine));
        }
        self.stand_in_line("machines").await?;
        let machines = self.api.machines_of(conversation).await?;
        if machines.len() > 1 {
            tracing::warn!(%conversation, count = machines.len(), "this conversation has several machines; `relay admin vms` lists them");
        }
        // Metadata may be changed from inside of a machine; a name is given once and by us.
        let name = names(conversation).0;
        Ok(machines.into_iter().find(|machine| machine.name == name))
    }

    async fn start(&self, machine: &Machine) -> Result<Step, Trouble> {
        if machine.host_status.as_deref() == Some("unreachable") {
            tracing::warn!(machine = %machine.id, "the host of a machine can't be reached");
            return Err(Trouble::Held(UNREACHABLE));
        }
        match machine.state.as_str() {
            "started" => return Ok(Step::Up(machine.id.clone())),
            "failed" => {
                tracing::error!(machine = %machine.id, "a machine has failed: see its events at Fly.io");
                return Err(Trouble::Held(FAILED));
            }
            "created" | "stopped" | "suspended" => match self.api.start(&machine.id).await {
                // Somebody else has started it, or it is being made.
                Ok(()) | Err(ApiError::Conflict) => {}
                // It was there a moment ago.
                Err(ApiError::NotFound) => return Ok(Step::Wait),
                Err(error) => return Err(error.into()),
            },
            "stopping" | "suspending" => return Ok(Step::Wait),
            _ => {}
        }
        match self.api.wait_started(machine, WAIT).await {
            Ok(true) => Ok(Step::Up(machine.id.clone())),
            Ok(false) | Err(ApiError::NotFound | ApiError::Refused { status: 400, .. }) => Ok(Step::Wait),
            Err(error) => Err(error.into()),
        }
    }

    /// The volume that is remembered is gone. The person is told, and what they write after that gets another one: what waited
    /// behind the refused effect was written for what is gone.
    async fn lost(&self, asking: &Asking, record: Record) -> Result<Step, Trouble> {
        let conversation = &asking.conversation;
        match record.lost {
            Some(told) if asking.is_told && asking.effect > told && Some(asking.written_at) > record.lost_at => {
                tracing::warn!(%conversation, "a new volume takes the place of one that was lost");
                self.remember(conversation, &Record::default()).await?;
                Ok(Step::Further)
            }
            told if asking.is_told && told.is_none_or(|told| told == asking.effect) => {
                if told.is_none() {
                    tracing::error!(%conversation, "a volume is gone, and the person is told");
                }
                let lost = Record { lost: Some(asking.effect), lost_at: Some(clock::now()), ..record };
                self.remember(conversation, &lost).await?;
                Err(Trouble::Lost(LOST))
            }
            _ => Err(Trouble::Lost(LOST)),
        }
    }

    /// Wait for this relay's turn to make a call of this kind to the app.
    pub(super) async fn stand_in_line(&self, kind: &str) -> Result<(), Trouble> {
        match self.reserve(&format!("fly:{kind}"), APP_CALL_INTERVAL, APP_CALL_WAIT_MAX).await? {
            Reserved::In(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Reserved::Later(_) => Err(Trouble::NotYet),
        }
    }

    /// Reserve one turn of a line that all relays stand in.
    pub(super) async fn reserve(
        &self,
        line: &str,
        interval: Duration,
        wait_max: Duration,
    ) -> Result<Reserved, StoreError> {
        let line = line.to_owned();
        self.store.reserve(Reserve { line, count: 1, interval, wait_max, now: clock::now() }).await
    }
}
