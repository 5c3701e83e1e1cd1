//! Destroys what a conversation has at Fly.io. Only an operator asks for that.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use relay_core::id::ConversationId;

use super::api::{Api, ApiError, MachineId, VolumeId};
use super::names;

/// From the lease to the end of the machine.
const LEASE: Duration = Duration::from_secs(30);
/// A relay that makes or starts a machine has its lease for a moment.
const LEASE_ATTEMPTS_MAX: u32 = 6;
const LEASE_PAUSE: Duration = Duration::from_secs(2);
/// A volume is let go a moment after its machine is gone.
const DETACH_ATTEMPTS_MAX: u32 = 20;
const DETACH_PAUSE: Duration = Duration::from_millis(1_500);

/// Destroy the machines and volumes of `conversation`: how many machines and how many volumes there were. Called again, it goes
/// on with what is left.
pub async fn remove(api: &Api, conversation: &ConversationId) -> anyhow::Result<(usize, usize)> {
    let name = names(conversation).1;
    let machines = api.machines_of(conversation).await.context("the machines could not be listed")?;
    // Before the machines go: a volume is also known by the machine that has it.
    let attached: BTreeSet<VolumeId> = machines.iter().filter_map(|machine| machine.volume().cloned()).collect();
    let volumes = api.volumes().await.context("the volumes could not be listed")?;
    let volumes: Vec<VolumeId> = volumes
        .into_iter()
        .filter(|volume| volume.name == name || attached.contains(&volume.id))
        .map(|volume| volume.id)
        .collect();
    for machine in &machines {
        let nonce = match lease(api, &machine.id).await {
            Ok(nonce) => nonce,
            Err(ApiError::NotFound) => continue,
            Err(ApiError::Conflict) => bail!("machine {} is in somebody else's hands just now; try again", machine.id),
            Err(error) => return Err(error).with_context(|| format!("machine {} is still there", machine.id)),
        };
        match api.destroy_machine(&machine.id, &nonce).await {
            // An answer that was lost: the volume shows whether the machine is gone.
            Ok(()) | Err(ApiError::NotFound | ApiError::NoAnswer) => {}
            Err(error) => return Err(error).with_context(|| format!("machine {} is still there", machine.id)),
        }
    }
    for volume in &volumes {
        destroy(api, volume).await.with_context(|| format!("volume {volume} is still there; try again"))?;
    }
    Ok((machines.len(), volumes.len()))
}

async fn lease(api: &Api, machine: &MachineId) -> Result<String, ApiError> {
    let mut attempts = 1;
    loop {
        match api.lease(machine, LEASE).await {
            Err(ApiError::Conflict) if attempts < LEASE_ATTEMPTS_MAX => attempts += 1,
            answer => return answer,
        }
        tokio::time::sleep(LEASE_PAUSE).await;
    }
}

async fn destroy(api: &Api, volume: &VolumeId) -> Result<(), ApiError> {
    let mut attempts = 1;
    loop {
        match api.destroy_volume(volume).await {
            Ok(()) | Err(ApiError::NotFound) => return Ok(()),
            Err(ApiError::Conflict | ApiError::NoAnswer) if attempts < DETACH_ATTEMPTS_MAX => attempts += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(DETACH_PAUSE).await;
    }
}
