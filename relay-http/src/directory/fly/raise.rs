//! Finds a conversation's machine, makes it where there is none, and starts it.
//!
//! Each step begins with a look at what is there, so it does not matter at which one a relay before this one has died, or which
//! answer was lost. Two things keep a person from having two: machines have names of which Fly.io takes each one once, and
//! volumes, of whose names it does not look, are made only by whoever has the *right* to make this one. The store gives it to
//! one asker at a time, for longer than a step takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_core::id::ConversationId;
use relay_core::store::{Reserve, Reserved, Store, StoreError};
use relay_core::telemetry::metrics;
use secrecy::{ExposeSecret, SecretString};

use super::api::{Api, ApiError, MachineId};
use super::record::Record;
use super::wire::{
    Guest, Machine, Mount, NewMachine, NewMachineConfig, NewVolume, Port, Restart, Scraped, Service, StopConfig, USER,
    Volume,
};
use super::{Trouble, names, secret_of};
use crate::clock;
use crate::config::FlyConfig;
use crate::directory::Asking;

/// A machine is up after seconds; what takes longer is looked at anew by the next who asks.
const RAISE_TIMEOUT: Duration = Duration::from_secs(25);
/// Who has the right to make a volume has it for so long, also when they die. No call that they make under it lasts longer.
const RIGHT: Duration = Duration::from_secs(30);
/// Whoever does not begin within this time does not begin.
const RIGHT_USED_WITHIN: Duration = Duration::from_secs(5);
/// A look that found nothing to do is repeated after this long.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// One question whether a machine is started.
const WAIT: Duration = Duration::from_secs(5);
/// Fly.io allows one call a second of each kind to an app; all relays stand in one line for it.
const APP_CALL_INTERVAL: Duration = Duration::from_secs(1);
/// Where the line is longer, it is stood in anew later.
const APP_CALL_WAIT_MAX: Duration = Duration::from_secs(10);
/// A machine that is told to end saves a run within this time; its `stop_config` gives it more.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// No idler keeps a machine for longer, unless the app's secrets say so.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const AGENT_PORT: u16 = 3001;
/// Where the VM's image has its metrics.
const METRICS_PORT: u16 = 9092;
const DATA_DIR: &str = "/data";

const LOST: &str = "Your VM's disk is gone: the repositories on it, parked work and the agent's memory. What was pushed is \
                    not touched. Send your task again, and you get a new VM with an empty disk.";
const UNREACHABLE: &str = "The machine that your VM is on can't be reached at Fly.io. Nothing of yours is touched.";
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
enum Step {
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
        let steps = async {
            loop {
                match self.step(asking).await {
                    Ok(Step::Up(machine)) => return Ok(machine),
                    Ok(Step::Further) => {}
                    Ok(Step::Wait) | Err(Trouble::NotYet) => tokio::time::sleep(LOOK_PAUSE).await,
                    Err(trouble) => return Err(trouble),
                }
            }
        };
        tokio::time::timeout(RAISE_TIMEOUT, steps).await.unwrap_or(Err(Trouble::NotYet))
    }

    async fn step(&self, asking: &Asking) -> Result<Step, Trouble> {
        let conversation = &asking.conversation;
        let record = Record::read(&*self.store, conversation).await?;
        if let Some(machine) = self.machine(conversation, &record).await? {
            let found = Record {
                machine: Some(machine.id.clone()),
                volume: machine.volume().cloned().or(record.volume.clone()),
                lost: None,
            };
            if found != record {
                found.write(&*self.store, conversation).await?;
            }
            return self.start(&machine).await;
        }
        let Some(recorded) = &record.volume else {
            return if asking.is_told { self.make_volume(conversation).await } else { Err(Trouble::Lost(LOST)) };
        };
        match self.api.volume(recorded).await? {
            Some(volume) => self.make_machine(conversation, &record, &volume).await,
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

    /// The volume that is remembered is gone. The person is told, and what they write after that gets another one.
    async fn lost(&self, asking: &Asking, record: Record) -> Result<Step, Trouble> {
        let conversation = &asking.conversation;
        match record.lost {
            Some(told) if asking.effect > told && asking.is_told => {
                tracing::warn!(%conversation, "a new volume takes the place of one that was lost");
                Record::default().write(&*self.store, conversation).await?;
                Ok(Step::Further)
            }
            None if asking.is_told => {
                tracing::error!(%conversation, "a volume is gone, and the person is told");
                Record { lost: Some(asking.effect), ..record }.write(&*self.store, conversation).await?;
                Err(Trouble::Lost(LOST))
            }
            _ => Err(Trouble::Lost(LOST)),
        }
    }

    /// Make the volume, and the machine for it; or take the volume that somebody before has made and did not live to remember.
    async fn make_volume(&self, conversation: &ConversationId) -> Result<Step, Trouble> {
        self.stand_in_line("volume").await?;
        self.stand_in_line("volumes").await?;
        let asked = Instant::now();
        let Reserved::In(_) = self.reserve(&format!("vm:{conversation}"), RIGHT, Duration::ZERO).await? else {
            return Ok(Step::Wait);
        };
        let name = names(conversation).1;
        let volume = match self.volume_named(&name).await? {
            Some(volume) => Some(volume),
            // A relay that was frozen meanwhile may have lost the right.
            None if asked.elapsed() >= RIGHT_USED_WITHIN => None,
            None => {
                let new = NewVolume {
                    name: &name,
                    region: &self.config.region,
                    size_gb: self.config.volume_gb,
                    compute: self.guest(),
                };
                match self.api.create_volume(&new).await {
                    // It may be there all the same. If it is not there yet, nobody makes another before the right has run out.
                    Err(ApiError::NoAnswer) => self.volume_named(&name).await?,
                    made => Some(made?),
                }
            }
        };
        let Some(volume) = volume else { return Ok(Step::Wait) };
        tracing::info!(%conversation, volume = %volume.id, "a new machine is made for this volume");
        self.make_machine(conversation, &Record::default(), &volume).await
    }

    /// The volume of this name; of several every relay takes the same one.
    async fn volume_named(&self, name: &str) -> Result<Option<Volume>, Trouble> {
        let volumes = self.api.volumes().await?.into_iter().filter(|volume| volume.name == name);
        Ok(volumes.min_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id))))
    }

    async fn make_machine(
        &self,
        conversation: &ConversationId,
        record: &Record,
        volume: &Volume,
    ) -> Result<Step, Trouble> {
        if volume.host_status.as_deref() == Some("unreachable") {
            return Err(Trouble::Held(UNREACHABLE));
        }
        if record.machine.is_some() {
            tracing::warn!(%conversation, volume = %volume.id, "a machine is gone; another one takes its volume");
        }
        // Before the machine: from here on the loss of the volume is known as one.
        let with_volume = Record { machine: None, volume: Some(volume.id.clone()), lost: None };
        if *record != with_volume {
            with_volume.write(&*self.store, conversation).await?;
        }
        let name = names(conversation).0;
        self.stand_in_line("machine").await?;
        let new = NewMachine {
            name: &name,
            region: &volume.region,
            lease_ttl: RAISE_TIMEOUT.as_secs(),
            config: self.machine_config(conversation, volume),
        };
        let machine = self.api.create_machine(&new).await?;
        tracing::info!(%conversation, machine = %machine.id, "made a machine");
        Record { machine: Some(machine.id.clone()), ..with_volume }.write(&*self.store, conversation).await?;
        let started = self.api.wait_started(&machine, WAIT).await;
        if let Some(nonce) = &machine.nonce
            && let Err(error) = self.api.release(&machine.id, nonce).await
        {
            tracing::debug!(%error, machine = %machine.id, "the lease on a new machine runs out by itself");
        }
        Ok(if matches!(started, Ok(true)) { Step::Up(machine.id) } else { Step::Further })
    }

    fn machine_config(&self, conversation: &ConversationId, volume: &Volume) -> NewMachineConfig<'_> {
        let secret = secret_of(&self.secret, conversation);
        let events_url = self.config.events_url.as_str().trim_end_matches('/');
        NewMachineConfig {
            image: &self.config.image,
            guest: self.guest(),
            env: BTreeMap::from([
                ("VM_BIND", format!("[::]:{AGENT_PORT}")),
                ("VM_SECRET", secret.expose_secret().to_owned()),
                ("EVENTS_URL", events_url.to_owned()),
                ("DATA_DIR", DATA_DIR.to_owned()),
                ("IDLE_TIMEOUT_MS", IDLE_TIMEOUT.as_millis().to_string()),
                ("SHUTDOWN_GRACE_MS", SHUTDOWN_GRACE.as_millis().to_string()),
            ]),
            metrics: Scraped { port: METRICS_PORT, path: metrics::PATH },
            metadata: BTreeMap::from([(USER, conversation.to_string())]),
            mounts: [Mount { volume: volume.id.clone(), path: DATA_DIR.to_owned() }],
            // One that has nothing to do ends in order, and stays stopped.
            restart: Restart { policy: "on-failure" },
            stop_config: StopConfig { signal: "SIGTERM", timeout: "30s" },
            services: [Service {
                protocol: "tcp",
                internal_port: AGENT_PORT,
                // The proxy knows nothing of a run that is at work.
                autostop: "off",
                autostart: true,
                ports: [Port { port: 80, handlers: ["http"] }],
            }],
        }
    }

    fn guest(&self) -> Guest {
        let size = self.config.size;
        Guest { cpu_kind: size.kind, cpus: size.count, memory_mb: self.config.memory_mb }
    }

    /// Wait for this relay's turn to make a call of this kind to the app.
    async fn stand_in_line(&self, kind: &str) -> Result<(), Trouble> {
        match self.reserve(&format!("fly:{kind}"), APP_CALL_INTERVAL, APP_CALL_WAIT_MAX).await? {
            Reserved::In(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Reserved::Later(_) => Err(Trouble::NotYet),
        }
    }

    async fn reserve(&self, line: &str, interval: Duration, wait_max: Duration) -> Result<Reserved, StoreError> {
        let line = line.to_owned();
        self.store.reserve(Reserve { line, count: 1, interval, wait_max, now: clock::now() }).await
    }
}
