//! What each command does, and what it prints: JSON in the fields that flyctl has, tables as it draws them.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{bail, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::line::Line;
use super::state::{Machine, Secret, State, Volume};

/// The password in the address of every Redis.
pub const REDIS_PASSWORD: &str = "the-password-of-redis";
/// A region that has machines and volumes, and no Redis.
pub const REGION_WITHOUT_REDIS: &str = "qro";
/// How every token for an app begins, after its scheme.
pub const TOKEN_BEGINS: &str = "fm2_the-token-of-the-relays-";

pub(super) fn carry_out(line: &Line, input: &[(String, String)], state: &mut State) -> anyhow::Result<String> {
    match line.command() {
        "auth whoami" => Ok("ada@example.com\n".to_owned()),
        "deploy" => deploy(line, state),
        command if command.starts_with("apps") => apps(line, state),
        command if command.starts_with("ips") => addresses(line, state),
        command if command.starts_with("redis") => redis(line, state),
        command if command.starts_with("secrets") => secrets(line, input, state),
        command if command.starts_with("tokens") => tokens(line, state),
        "volumes list" => {
            let volumes = state.app(line.required("app")?)?.volumes.iter();
            let shown = volumes.map(
                |(id, Volume { name, region })| json!({ "id": id, "name": name, "region": region, "state": "created" }),
            );
            Ok(json!(shown.collect::<Vec<_>>()).to_string())
        }
        "volumes create" => {
            ensure!(line.has("yes"), "prompt: non interactive: one volume is not redundant, --yes must be given");
            let volume = Volume { name: line.word()?.to_owned(), region: line.required("region")?.to_owned() };
            let id = format!("vol_{}", state.next_id());
            state.app(line.required("app")?)?.volumes.insert(id, volume);
            Ok("created\n".to_owned())
        }
        "machine list" => Ok(machines(&state.app(line.required("app")?)?.machines)),
        "scale count" => scale(line, state),
        "ssh console" => {
            ensure!(!state.app(line.required("app")?)?.machines.is_empty(), "app has no started VMs");
            ensure!(line.required("command")?.ends_with("relay admin check"), "not found");
            Ok("✓ Redis answers\n".to_owned())
        }
        other => bail!("{other} is not carried out"),
    }
}

fn apps(line: &Line, state: &mut State) -> anyhow::Result<String> {
    match line.command() {
        "apps list" => Ok(json!(state.apps.keys().map(|name| json!({ "Name": name })).collect::<Vec<_>>()).to_string()),
        "apps create" => {
            line.required("org")?;
            let name = line.word()?.to_owned();
            ensure!(!state.apps.contains_key(&name), "Name has already been taken");
            state.apps.insert(name, Default::default());
            Ok("New app created\n".to_owned())
        }
        _ => {
            ensure!(line.has("yes"), "prompt: non interactive: yes flag must be specified");
            state.app(line.word()?)?;
            state.apps.remove(line.word()?);
            Ok("Destroyed app\n".to_owned())
        }
    }
}

fn addresses(line: &Line, state: &mut State) -> anyhow::Result<String> {
    let name = line.required("app")?.to_owned();
    let kind = match line.command() {
        "ips list" => {
            let addresses = &state.app(&name)?.addresses;
            return Ok(json!(
                addresses.iter().map(|kind| json!({ "Address": kind, "Type": kind })).collect::<Vec<_>>()
            )
            .to_string());
        }
        "ips release" => {
            state.app(&name)?.addresses.retain(|kind| Some(kind.as_str()) != line.word().ok());
            return Ok("Released\n".to_owned());
        }
        "ips allocate-v4" if line.has("shared") => "shared_v4",
        "ips allocate-v4" => bail!("prompt: non interactive: a dedicated IPv4 address costs money"),
        _ if line.has("private") => "private_v6",
        _ => "v6",
    };
    state.app(&name)?.addresses.push(kind.to_owned());
    if kind != "private_v6" {
        state.were_public.insert(name);
    }
    Ok("allocated\n".to_owned())
}

fn redis(line: &Line, state: &mut State) -> anyhow::Result<String> {
    match line.command() {
        "redis list" => {
            let row = |name: &String| format!(" {name} \t│ personal \t│ Pay-as-you-go \t│ Disabled \t│ iad \t│ \n");
            Ok(state.redis.keys().map(row).collect())
        }
        "redis create" => {
            let name = line.required("name")?.to_owned();
            for option in ["org", "region", "no-replicas", "disable-eviction", "enable-prodpack"] {
                line.required(option)?;
            }
            ensure!(line.option("region") != Some(REGION_WITHOUT_REDIS), "region {REGION_WITHOUT_REDIS} not found");
            ensure!(line.option("enable-prodpack") == Some("false"), "the ProdPack costs 200 dollars a month");
            ensure!(!state.redis.contains_key(&name), "createAddOn Validation failed: Name has already been taken");
            let url = format!("redis://default:{REDIS_PASSWORD}@fly-{name}.upstash.io:6379");
            let told = format!(
                "Your Upstash Redis database {name} is ready.\nApps in the org can connect to Redis at {url}\n"
            );
            state.redis.insert(name, url);
            Ok(told)
        }
        "redis status" => match state.redis.get(line.word()?) {
            Some(url) => Ok(format!("Redis\n  Name        = {}\n  Private URL = {url}\n", line.word()?)),
            None => bail!("Could not find the database"),
        },
        _ => {
            ensure!(line.has("yes"), "prompt: non interactive: yes flag must be specified");
            ensure!(state.redis.remove(line.word()?).is_some(), "Could not find the database");
            Ok("destroyed\n".to_owned())
        }
    }
}

fn secrets(line: &Line, input: &[(String, String)], state: &mut State) -> anyhow::Result<String> {
    let app = state.app(line.required("app")?)?;
    match line.command() {
        "secrets list" => {
            let status = |secret: &Secret| if secret.deployed { "Deployed" } else { "Staged" };
            let rows = app.secrets.iter();
            let rows =
                rows.map(|(name, secret)| json!({ "name": name, "digest": secret.digest, "status": status(secret) }));
            Ok(json!(rows.collect::<Vec<_>>()).to_string())
        }
        "secrets import" => {
            ensure!(!input.is_empty(), "requires at least one SECRET=VALUE pair");
            ensure!(line.has("stage"), "the machines would be restarted before all is set");
            for (name, value) in input {
                let digest = hex::encode(&Sha256::digest(value.as_bytes())[..8]);
                app.secrets.insert(name.clone(), Secret { digest, deployed: false });
            }
            Ok("Secrets have been staged\n".to_owned())
        }
        "secrets unset" => {
            ensure!(line.has("stage"), "the machines would be restarted before all is set");
            for name in line.words() {
                ensure!(app.secrets.remove(name).is_some(), "there is no secret {name}");
            }
            Ok("Secrets have been staged\n".to_owned())
        }
        _ => {
            ensure!(!app.machines.is_empty(), "the app has no machines");
            app.secrets.values_mut().for_each(|secret| secret.deployed = true);
            Ok("deployed\n".to_owned())
        }
    }
}

fn tokens(line: &Line, state: &mut State) -> anyhow::Result<String> {
    match line.command() {
        "tokens list" => {
            let row = |(id, name): (&String, &String)| format!(" {id} \t│ {name} \t│ 2027-01-01 00:00:00 +0000 UTC \n");
            let rows = state.app(line.required("app")?)?.tokens.iter().map(row);
            Ok(format!(" ID \t│ NAME \t│ EXPIRES AT \n{}", rows.collect::<String>()))
        }
        "tokens create deploy" => {
            ensure!(line.required("expiry")?.ends_with('h'), "it would be good for twenty years");
            let id = state.next_id();
            let name = line.required("name")?.to_owned();
            state.app(line.required("app")?)?.tokens.insert(id.clone(), name);
            Ok(format!("FlyV1 {TOKEN_BEGINS}{id}\n"))
        }
        _ => {
            ensure!(!line.words().is_empty(), "used like: 'fly tokens revoke [ids]'");
            for app in state.apps.values_mut() {
                app.tokens.retain(|id, _| !line.words().contains(id));
            }
            Ok("Revoked\n".to_owned())
        }
    }
}

fn deploy(line: &Line, state: &mut State) -> anyhow::Result<String> {
    ensure!(line.has("yes"), "prompt: non interactive");
    let config = fs::read_to_string(line.required("config")?)?;
    let (name, tag) = (line.required("app")?.to_owned(), line.required("image-label")?.to_owned());
    if line.has("build-only") {
        ensure!(line.has("push"), "the image would be built and thrown away");
        state.app(&name)?.images.insert(tag);
        return Ok("pushed\n".to_owned());
    }
    let region = line.required("primary-region")?.to_owned();
    let has_volume = config.contains("[[mounts]]");
    let app = state.app(&name)?;
    if app.machines.is_empty() {
        if app.addresses.is_empty() && !line.has("flycast") {
            app.addresses = vec!["v6".to_owned(), "shared_v4".to_owned()];
            state.were_public.insert(name.clone());
        }
        if !state.app(&name)?.addresses.iter().any(|kind| kind == "private_v6") {
            state.without_private_address.insert(name.clone());
        }
        if has_volume && !state.app(&name)?.volumes.values().any(|volume| volume.region == region) {
            let id = format!("vol_{}", state.next_id());
            state.app(&name)?.volumes.insert(id, Volume { name: "data".to_owned(), region: region.clone() });
        }
        let count = if has_volume || line.option("ha") == Some("false") { 1 } else { 2 };
        for _ in 0..count {
            let machine = Machine {
                id: state.next_id(),
                region: region.clone(),
                tag: tag.clone(),
                env: BTreeMap::new(),
                fails: false,
            };
            state.app(&name)?.machines.push(machine);
        }
    }
    let app = state.app(&name)?;
    for machine in &mut app.machines {
        machine.tag.clone_from(&tag);
        machine.env.clone_from(line.env());
        machine.fails = false;
    }
    app.secrets.values_mut().for_each(|secret| secret.deployed = true);
    Ok("Visit your newly deployed app\n".to_owned())
}

fn scale(line: &Line, state: &mut State) -> anyhow::Result<String> {
    ensure!(line.has("yes"), "prompt: non interactive: yes flag must be specified");
    let (name, region) = (line.required("app")?.to_owned(), line.required("region")?.to_owned());
    let count: usize = line.word()?.parse()?;
    let Some(first) = state.app(&name)?.machines.first().cloned() else { bail!("there is no machine to clone") };
    while state.app(&name)?.machines.len() < count {
        let machine = Machine { id: state.next_id(), region: region.clone(), ..first.clone() };
        state.app(&name)?.machines.push(machine);
    }
    state.app(&name)?.machines.truncate(count);
    Ok("Scaled\n".to_owned())
}

fn machines(machines: &[Machine]) -> String {
    let shown = machines.iter().map(|Machine { id, region, tag, env, fails }| {
        let status = if *fails { "critical" } else { "passing" };
        let checks = [json!({ "name": "servicecheck-00-http-3000", "status": status })];
        json!({ "id": id, "region": region, "state": "started", "image_ref": { "tag": tag }, "config": { "env": env }, "checks": checks })
    });
    json!(shown.collect::<Vec<_>>()).to_string()
}
