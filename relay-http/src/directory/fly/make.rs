//! Makes a conversation's volume and machine.
//!
//! Fly.io looks at the names of machines and not at those of volumes, so a volume is made only by whoever has the *right* to make
//! this one, which the store gives to one asker at a time, for longer than a call takes. A relay that is frozen just before its
//! call makes it without the right: so whoever has made a volume looks whether it is the only one, and destroys what is too many.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use relay_core::id::ConversationId;
use relay_core::store::{Reserved, StoreError};
use relay_core::telemetry::metrics;
use secrecy::ExposeSecret;

use super::api::ApiError;
use super::raise::{RAISE_TIMEOUT, Raising, Step, UNREACHABLE, WAIT};
use super::record::Record;
use super::wire::{
    Guest, Mount, NewMachine, NewMachineConfig, NewVolume, Port, Restart, Scraped, Service, StopConfig, USER, Volume,
};
use super::{Trouble, names, removal, secret_of};

/// Who has the right to make a volume has it for so long, also when they die. No call that they make under it lasts longer.
const RIGHT: Duration = Duration::from_secs(30);
/// Whoever does not begin within this time does not begin.
const RIGHT_USED_WITHIN: Duration = Duration::from_secs(5);
/// A machine that is told to end saves a run within this time; its `stop_config` gives it more.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// No idler keeps a machine for longer, unless the app's secrets say so.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const AGENT_PORT: u16 = 3001;
/// Where the VM's image has its metrics.
const METRICS_PORT: u16 = 9092;
const DATA_DIR: &str = "/data";

const FORGOTTEN: &str = "There is no such conversation any more.";

impl Raising {
    /// Make what is missing. Whoever forgets a person meanwhile destroys what is there by then: so it is asked before and after
    /// whether they are forgotten, and of what was made for nobody nothing stays.
    pub(super) async fn make(
        &self,
        conversation: &ConversationId,
        making: impl Future<Output = Result<Step, Trouble>>,
    ) -> Result<Step, Trouble> {
        if self.is_forgotten(conversation).await? {
            return Err(Trouble::Lost(FORGOTTEN));
        }
        let made = making.await;
        if !self.is_forgotten(conversation).await? {
            return made;
        }
        self.undo(conversation).await
    }

    /// Destroy what was made for nobody.
    async fn undo<T>(&self, conversation: &ConversationId) -> Result<T, Trouble> {
        Record::default().write(&*self.store, conversation).await?;
        match removal::remove(&self.api, conversation).await {
            Ok((machines, volumes)) => {
                tracing::warn!(%conversation, machines, volumes, "destroyed what was made while its person was forgotten");
            }
            Err(error) => {
                tracing::error!(%conversation, "a person was forgotten while a machine was made for them; use relay admin forget: {error:#}");
            }
        }
        Err(Trouble::Lost(FORGOTTEN))
    }

    /// Remember what a conversation has. Of one that is forgotten nothing is to be there: whoever made it may have been unable to
    /// find out.
    pub(super) async fn remember(&self, conversation: &ConversationId, record: &Record) -> Result<(), Trouble> {
        record.write(&*self.store, conversation).await?;
        if self.is_forgotten(conversation).await? { self.undo(conversation).await } else { Ok(()) }
    }

    async fn is_forgotten(&self, conversation: &ConversationId) -> Result<bool, StoreError> {
        Ok(self.store.overview(conversation).await?.is_none())
    }

    /// Make the volume, and the machine for it; or take the volume that somebody before has made and did not live to remember.
    pub(super) async fn make_volume(&self, conversation: &ConversationId) -> Result<Step, Trouble> {
        self.stand_in_line("volume").await?;
        self.stand_in_line("volumes").await?;
        let asked = Instant::now();
        let Reserved::In(_) = self.reserve(&format!("vm:{conversation}"), RIGHT, Duration::ZERO).await? else {
            return Ok(Step::Wait);
        };
        let name = names(conversation).1;
        let volume = match self.volumes_named(&name).await?.into_iter().next() {
            Some(volume) => Some(volume),
            // A relay that was frozen meanwhile may have lost the right.
            None if asked.elapsed() >= RIGHT_USED_WITHIN => None,
            None => self.only_volume(conversation, &name).await?,
        };
        // One that a machine has is found by its machine.
        let Some(volume) = volume.filter(|volume| volume.attached_machine_id.is_none()) else {
            return Ok(Step::Wait);
        };
        tracing::info!(%conversation, volume = %volume.id, "a new machine is made for this volume");
        self.make_machine(conversation, &Record::default(), &volume).await
    }

    /// Make a volume where there was none a moment ago. Of those that are there then, all but one were made by somebody who did not
    /// know of that one, and nothing was ever written to them.
    async fn only_volume(&self, conversation: &ConversationId, name: &str) -> Result<Option<Volume>, Trouble> {
        let region = &self.config.region;
        let new = NewVolume { name, region, size_gb: self.config.volume_gb, compute: self.guest() };
        match self.api.create_volume(&new).await {
            // It may be there all the same. If it is not there yet, nobody makes another before the right has run out.
            Ok(_) | Err(ApiError::NoAnswer) => {}
            Err(error) => return Err(error.into()),
        }
        let mut volumes = self.volumes_named(name).await?.into_iter();
        let only = volumes.next();
        for volume in volumes.filter(|volume| volume.attached_machine_id.is_none()) {
            match self.api.destroy_volume(&volume.id).await {
                Ok(()) => tracing::warn!(%conversation, volume = %volume.id, "destroyed a second, empty volume"),
                Err(error) => {
                    tracing::warn!(%conversation, volume = %volume.id, %error, "a second volume stays; `relay admin vms --orphans` lists it");
                }
            }
        }
        Ok(only)
    }

    /// The volumes of this name, the one that every relay takes first: the one that a machine has, else the oldest.
    async fn volumes_named(&self, name: &str) -> Result<Vec<Volume>, Trouble> {
        let mut volumes = self.api.volumes().await?;
        volumes.retain(|volume| volume.name == name);
        volumes.sort_by(|a, b| {
            let key = |volume: &Volume| (volume.attached_machine_id.is_none(), volume.created_at.clone());
            key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
        });
        Ok(volumes)
    }

    /// Make the machine for this volume.
    pub(super) async fn make_machine(
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
        let with_volume = Record { volume: Some(volume.id.clone()), ..Record::default() };
        if *record != with_volume {
            self.remember(conversation, &with_volume).await?;
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
        let whole = Record { machine: Some(machine.id.clone()), ..with_volume };
        whole.write(&*self.store, conversation).await?;
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
}
