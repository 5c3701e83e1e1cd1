//! What the Machines API of Fly.io is told and tells, as far as it is of use here. It grows: what is not known is passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::api::{MachineId, VolumeId};

/// The metadata that says whose machine it is.
pub const USER: &str = "user";

/// A machine.
#[derive(Clone, Debug, Deserialize)]
pub struct Machine {
    /// Its id.
    pub id: MachineId,
    /// Its name, which no other machine of the app has.
    #[serde(default)]
    pub name: String,
    /// What it does.
    pub state: String,
    /// Names the version of it that is there now.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// Whether its host can be reached: `ok`, `unknown` or `unreachable`.
    #[serde(default)]
    pub host_status: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// What it is.
    #[serde(default)]
    pub config: Option<MachineConfig>,
    /// Of a new one: the lease that its maker has.
    #[serde(default)]
    pub nonce: Option<String>,
}

impl Machine {
    /// Whether it is there, or may be again.
    pub fn is_there(&self) -> bool {
        !matches!(self.state.as_str(), "destroying" | "destroyed")
    }

    /// Whose it is, as its metadata says.
    pub fn user(&self) -> Option<&str> {
        self.config.as_ref()?.metadata.as_ref()?.get(USER).map(String::as_str)
    }

    /// The volume that it works on.
    pub fn volume(&self) -> Option<&VolumeId> {
        self.config.as_ref()?.mounts.as_ref()?.first().map(|mount| &mount.volume)
    }
}

/// What a machine is, as told.
#[derive(Clone, Debug, Deserialize)]
pub struct MachineConfig {
    /// Free for its owner.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Its volumes.
    #[serde(default)]
    pub mounts: Option<Vec<Mount>>,
}

/// A volume of a machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Which.
    pub volume: VolumeId,
    /// Where it is mounted.
    #[serde(default)]
    pub path: String,
}

/// A volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// Its name, which others may have as well.
    pub name: String,
    /// What becomes of it.
    #[serde(default)]
    pub state: String,
    /// Where it is.
    pub region: String,
    /// The machine that has it.
    #[serde(default)]
    pub attached_machine_id: Option<MachineId>,
    /// Whether its host can be reached.
    #[serde(default)]
    pub host_status: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
}

impl Volume {
    /// Whether it is there, and is not about to be destroyed.
    pub fn is_there(&self) -> bool {
        !matches!(
            self.state.as_str(),
            "scheduling_destroy"
                | "fork_cleanup"
                | "waiting_for_detach"
                | "pending_destroy"
                | "destroying"
                | "destroyed"
        )
    }
}

/// A volume to be made.
#[derive(Clone, Debug, Serialize)]
pub struct NewVolume<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where.
    pub region: &'a str,
    /// Its size.
    pub size_gb: u32,
    /// Of the machine that will have it: so that there is room for that on the same host.
    pub compute: Guest,
}

/// The processors and the memory of a machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Guest {
    /// Which kind.
    pub cpu_kind: &'static str,
    /// How many.
    pub cpus: u32,
    /// How much.
    pub memory_mb: u32,
}

/// A machine to be made.
#[derive(Clone, Debug, Serialize)]
pub struct NewMachine<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where.
    pub region: &'a str,
    /// Its maker has a lease on it for so many seconds.
    pub lease_ttl: u64,
    /// What it is.
    pub config: NewMachineConfig<'a>,
}

/// What a machine is to be.
#[derive(Clone, Debug, Serialize)]
pub struct NewMachineConfig<'a> {
    /// What it runs.
    pub image: &'a str,
    /// Its processors and memory.
    pub guest: Guest,
    /// Its environment. Secrets of the app come on top, and win.
    pub env: BTreeMap<&'static str, String>,
    /// Whose it is.
    pub metadata: BTreeMap<&'static str, String>,
    /// Its volume.
    pub mounts: [Mount; 1],
    /// When it is started again by itself.
    pub restart: Restart,
    /// How it is told to stop.
    pub stop_config: StopConfig,
    /// Where it is reached.
    pub services: [Service; 1],
    /// Where Fly.io asks it for metrics.
    pub metrics: Scraped,
}

/// Where metrics are.
#[derive(Clone, Debug, Serialize)]
pub struct Scraped {
    /// The port, which is no service's.
    pub port: u16,
    /// The path.
    pub path: &'static str,
}

/// When a machine is started again by itself.
#[derive(Clone, Debug, Serialize)]
pub struct Restart {
    /// With `on-failure` one that ends in order stays stopped.
    pub policy: &'static str,
}

/// How a machine is told to stop.
#[derive(Clone, Debug, Serialize)]
pub struct StopConfig {
    /// By this signal.
    pub signal: &'static str,
    /// And killed after this time.
    pub timeout: &'static str,
}

/// Where the proxy reaches a machine.
#[derive(Clone, Debug, Serialize)]
pub struct Service {
    /// By what.
    pub protocol: &'static str,
    /// At which of its ports.
    pub internal_port: u16,
    /// Whether the proxy stops it when nobody calls.
    pub autostop: &'static str,
    /// Whether the proxy starts it when somebody calls.
    pub autostart: bool,
    /// The proxy's own ports.
    pub ports: [Port; 1],
}

/// A port of the proxy.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// What speaks there.
    pub handlers: [&'static str; 1],
}

/// A lease on a machine.
#[derive(Debug, Deserialize)]
pub struct Leased {
    /// The lease.
    pub data: Lease,
}

/// What whoever has a lease shows.
#[derive(Debug, Deserialize)]
pub struct Lease {
    /// The nonce.
    pub nonce: String,
}
