//! The machines and volumes at Fly.io, and which of them belong to nobody. Nothing is destroyed here.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use relay_core::id::ConversationId;
use relay_core::store::Store;
use relay_core::time::humane;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::table::table;
use super::{Report, explain, open};
use crate::config::{AdminConfig, FlyApp};
use crate::directory::fly::api::{Api, VolumeId};
use crate::directory::fly::wire::{Machine, Volume};

/// A machine with its volume, or a volume without a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    machine: Option<String>,
    state: String,
    user: Option<String>,
    volume: Option<String>,
    age_s: Option<u64>,
    /// Why it belongs to nobody.
    orphan: Option<&'static str>,
}

/// What calls the Machines API for operators.
pub(crate) fn api(app: &FlyApp) -> anyhow::Result<Api> {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    Ok(Api::new(http, app))
}

/// All of them, or only those that belong to nobody.
pub(super) async fn list(config: &AdminConfig, only_orphans: bool, json: bool) -> anyhow::Result<Report> {
    let app = config.fly.as_ref().context("VM_DIRECTORY is not fly: the relay has one VM, at VM_URL")?;
    let (store, api) = (open(config).await?, api(app)?);
    let machines = api.machines().await.context("the machines could not be listed")?;
    let volumes = api.volumes().await.context("the volumes could not be listed")?;
    let mut rows = rows(&*store, &machines, &volumes, OffsetDateTime::now_utc()).await?;
    let orphans = rows.iter().filter(|row| row.orphan.is_some()).count();
    if only_orphans {
        rows.retain(|row| row.orphan.is_some());
    }
    let text = if json { serde_json::to_string_pretty(&rows)? + "\n" } else { text(&rows) };
    let (machines, volumes) = (machines.len(), volumes.len());
    let mut aside = format!("{machines} machines, {volumes} volumes, {orphans} of them all belong to nobody\n");
    if orphans > 0 {
        aside.push_str("One that is being made just now may be among them. `fly machine destroy` and `fly volumes destroy` remove them.\n");
    }
    Ok(Report { text, aside, is_well: true })
}

async fn rows(
    store: &dyn Store,
    machines: &[Machine],
    volumes: &[Volume],
    now: OffsetDateTime,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(machines.len());
    let (mut users, mut attached): (BTreeSet<&str>, BTreeSet<&VolumeId>) = Default::default();
    for machine in machines {
        attached.extend(machine.volume());
        let orphan = match machine.user().map(|user| (user, ConversationId::parse(user))) {
            None | Some((_, Err(_))) => Some("names no conversation"),
            Some((_, Ok(id))) if store.overview(&id).await.map_err(explain)?.is_none() => {
                Some("its conversation is not in the store")
            }
            Some((user, Ok(_))) if !users.insert(user) => Some("its conversation has another machine"),
            Some(_) => None,
        };
        rows.push(Row {
            machine: Some(machine.id.to_string()),
            state: machine.state.clone(),
            user: machine.user().map(str::to_owned),
            volume: machine.volume().map(ToString::to_string),
            age_s: age(machine.created_at.as_deref(), now),
            orphan,
        });
    }
    rows.extend(volumes.iter().filter(|volume| !attached.contains(&volume.id)).map(|volume| Row {
        machine: None,
        state: volume.state.clone(),
        user: None,
        volume: Some(volume.id.to_string()),
        age_s: age(volume.created_at.as_deref(), now),
        orphan: Some("no machine has it"),
    }));
    Ok(rows)
}

fn age(created_at: Option<&str>, now: OffsetDateTime) -> Option<u64> {
    let created_at = OffsetDateTime::parse(created_at?, &Rfc3339).ok()?;
    u64::try_from((now - created_at).whole_seconds()).ok()
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "none\n".to_owned();
    }
    let shown = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "–".to_owned());
    let rows: Vec<[String; 6]> = rows
        .iter()
        .map(|row| {
            let age = row.age_s.map(|seconds| humane(Duration::from_secs(seconds)));
            let orphan = row.orphan.unwrap_or_default().to_owned();
            [shown(&row.machine), row.state.clone(), shown(&row.user), shown(&row.volume), shown(&age), orphan]
        })
        .collect();
    table(["MACHINE", "STATE", "CONVERSATION", "VOLUME", "AGE", "ORPHAN"], &rows)
}

#[cfg(test)]
mod tests {
    use relay_core::store::sqlite::SqliteStore;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn what_belongs_to_nobody_is_told_with_the_reason() {
        let store = SqliteStore::in_memory().unwrap();
        let machine = |id: &str, user: serde_json::Value, volume: &str| -> Machine {
            serde_json::from_value(json!({
                "id": id, "state": "stopped", "created_at": "2026-01-01T00:00:00Z",
                "config": { "metadata": user, "mounts": [{ "volume": volume, "path": "/data" }] }
            }))
            .unwrap()
        };
        let machines = [machine("m1", json!({ "user": "c0ffee" }), "vol_1"), machine("m2", json!(null), "vol_2")];
        let volume = |id: &str| -> Volume {
            serde_json::from_value(json!({ "id": id, "name": "vm_x", "state": "created", "region": "fra" })).unwrap()
        };
        let now = OffsetDateTime::parse("2026-01-01T02:00:00Z", &Rfc3339).unwrap();
        let rows = rows(&store, &machines, &[volume("vol_1"), volume("vol_3")], now).await.unwrap();
        let told: Vec<_> = rows.iter().map(|row| row.orphan.unwrap_or_default()).collect();
        assert_eq!(told, ["its conversation is not in the store", "names no conversation", "no machine has it"]);
        let text = text(&rows);
        assert!(text.contains("m1") && text.contains("c0ffee") && text.contains("2 h"), "{text}");
    }
}
