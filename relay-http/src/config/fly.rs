//! What a relay is told about Fly.io, where each person has a machine of their own.

use std::str::FromStr;

use relay_core::settings::Reader;
use secrecy::SecretString;
use url::Url;

/// Where the VMs are.
#[derive(Clone, Debug)]
pub enum VmsConfig {
    /// `VM_URL`: one VM for everybody.
    Static(Url),
    /// A machine of their own for each person, on Fly.io.
    Fly(Box<FlyConfig>),
}

/// How machines are made and reached.
#[derive(Clone, Debug)]
pub struct FlyConfig {
    /// Whose machines they are.
    pub app: FlyApp,
    /// `VM_URL`: the proxy in front of the machines, which passes a request to the one that it names.
    pub proxy_url: Url,
    /// `VM_EVENTS_URL`: where the machines report to.
    pub events_url: Url,
    /// `VM_IMAGE`: what they run.
    pub image: String,
    /// `VM_REGION`: where new ones are made.
    pub region: String,
    /// `VM_SIZE`: their processors.
    pub size: Size,
    /// `VM_MEMORY_MB`: their memory.
    pub memory_mb: u32,
    /// `VM_VOLUME_GB`: the disk of each.
    pub volume_gb: u32,
}

/// The app of the machines, and the right to see to it: what operators' commands need as well.
#[derive(Clone, Debug)]
pub struct FlyApp {
    /// `VM_APP`: its name.
    pub name: String,
    /// `FLY_API_TOKEN`: a token of this app alone.
    pub token: SecretString,
    /// `VM_API_URL`: the Machines API.
    pub api_url: Url,
}

/// The processors of a machine, as Fly.io names them: `shared-cpu-2x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// `shared` or `performance`.
    pub kind: &'static str,
    /// How many.
    pub count: u32,
}

const API_URL: &str = "https://api.machines.dev";
const SIZE: &str = "shared-cpu-2x";
const MEMORY_MB: &str = "2048";
const VOLUME_GB: &str = "10";
/// The app's name is the beginning of a host's name.
const APP_CHARS_MAX: usize = 63;

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once("-cpu-").and_then(|(kind, rest)| {
            let kind = ["shared", "performance"].into_iter().find(|known| *known == kind)?;
            let count = rest.strip_suffix('x')?.parse().ok().filter(|count| (1..=16).contains(count))?;
            Some(Self { kind, count })
        });
        parsed.ok_or("must be like shared-cpu-2x or performance-cpu-2x")
    }
}

/// `VM_DIRECTORY`, and what goes with it.
pub(super) fn vms(reader: &mut Reader, public_url: Option<&Url>) -> Option<VmsConfig> {
    match reader.value("VM_DIRECTORY").as_deref() {
        None | Some("static") => reader.url("VM_URL", None).map(VmsConfig::Static),
        Some("fly") => fly(reader, public_url).map(|fly| VmsConfig::Fly(Box::new(fly))),
        Some(_) => reader.fault("VM_DIRECTORY", "must be static or fly"),
    }
}

/// The app alone, where there is one.
pub(super) fn of_operators(reader: &mut Reader) -> Option<Option<FlyApp>> {
    match reader.value("VM_DIRECTORY").as_deref() {
        Some("fly") => app(reader).map(Some),
        _ => Some(None),
    }
}

fn fly(reader: &mut Reader, public_url: Option<&Url>) -> Option<FlyConfig> {
    let app = app(reader);
    let flycast = app.as_ref().map(|app| format!("http://{}.flycast", app.name));
    let proxy_url = reader.url("VM_URL", flycast.as_deref().or(Some(API_URL)));
    // VMs that report to Redis would share a user there, and could report for each other.
    let events_url = reader.url("VM_EVENTS_URL", Some(public_url.map_or(API_URL, Url::as_str)));
    let image = reader.required("VM_IMAGE");
    let region = reader.required("VM_REGION").and_then(|region| match is_plain(&region) {
        true => Some(region),
        false => reader.fault("VM_REGION", "must be the name of a region, like fra"),
    });
    let size = reader.parsed("VM_SIZE", SIZE);
    let memory_mb = positive(reader, "VM_MEMORY_MB", MEMORY_MB);
    let volume_gb = positive(reader, "VM_VOLUME_GB", VOLUME_GB);
    Some(FlyConfig {
        app: app?,
        proxy_url: proxy_url?,
        events_url: events_url?,
        image: image?,
        region: region?,
        size: size?,
        memory_mb: memory_mb?,
        volume_gb: volume_gb?,
    })
}

fn app(reader: &mut Reader) -> Option<FlyApp> {
    let name = reader.required("VM_APP").and_then(|name| match name.len() <= APP_CHARS_MAX && is_plain(&name) {
        true => Some(name),
        false => reader.fault("VM_APP", "must be the name of an app: lower-case letters, digits and dashes"),
    });
    let token = reader.required("FLY_API_TOKEN");
    let api_url = reader.url("VM_API_URL", Some(API_URL));
    Some(FlyApp { name: name?, token: token?.into(), api_url: api_url? })
}

fn positive(reader: &mut Reader, name: &'static str, default: &str) -> Option<u32> {
    reader.parsed::<std::num::NonZeroU32>(name, default).map(u32::from)
}

/// Nothing that means anything in an address.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const TOKEN: &str = "FlyV1 fm2_hunter2";

    fn with_fly() -> HashMap<&'static str, &'static str> {
        HashMap::from([
            ("RELAY_SECRET", SECRET),
            ("VM_SECRET", SECRET),
            ("VM_DIRECTORY", "fly"),
            ("VM_APP", "textslash-vm"),
            ("FLY_API_TOKEN", TOKEN),
            ("VM_IMAGE", "registry.fly.io/textslash-vm@sha256:0"),
            ("VM_REGION", "fra"),
        ])
    }

    #[test]
    fn machines_are_reached_by_the_private_proxy_of_their_app() {
        let config = Config::read(&with_fly()).unwrap();
        let VmsConfig::Fly(fly) = &config.vms else { panic!("machines were asked for") };
        assert_eq!(fly.proxy_url.as_str(), "http://textslash-vm.flycast/");
        assert_eq!(fly.events_url, config.public_url.url);
        assert_eq!(fly.size, Size { kind: "shared", count: 2 });
        assert!(!format!("{config:?}").contains(TOKEN));
    }

    #[test]
    fn every_fault_of_it_is_told_at_once() {
        let faults = |variables: HashMap<&str, &str>| -> Vec<&str> {
            Config::read(&variables).unwrap_err().into_iter().map(|fault| fault.name).collect()
        };
        let bare = HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_DIRECTORY", "fly")]);
        assert_eq!(faults(bare), ["VM_APP", "FLY_API_TOKEN", "VM_IMAGE", "VM_REGION"]);
        let mut bad = with_fly();
        bad.extend([
            ("VM_APP", "a/../b"),
            ("VM_REGION", "fra?"),
            ("VM_SIZE", "large"),
            ("VM_MEMORY_MB", "0"),
            ("VM_VOLUME_GB", "much"),
            ("VM_EVENTS_URL", "redis://vm:pw@redis.internal"),
        ]);
        assert_eq!(faults(bad), ["VM_APP", "VM_EVENTS_URL", "VM_REGION", "VM_SIZE", "VM_MEMORY_MB", "VM_VOLUME_GB"]);
        let mut elsewhere = with_fly();
        elsewhere.insert("VM_DIRECTORY", "aws");
        assert_eq!(faults(elsewhere), ["VM_DIRECTORY"]);
    }
}
