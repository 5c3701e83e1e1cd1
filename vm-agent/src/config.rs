//! The process's settings, read once at the start from an environment that a test can replace. Every fault is found before
//! any is reported.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use relay_core::settings::{Environment, Fault, Reader};
use relay_core::store::redis::check_address;
use relay_core::store::redis::keys::{Keys, NAMESPACE};
use relay_core::telemetry::Sampling;
use relay_core::telemetry::logs::LogFormat;
use secrecy::SecretString;
use url::Url;

use crate::driver::acp::command_line::CommandLine;
use crate::supervise::confinement::{AgentUser, Confinement, memory_share};
use crate::supervise::egress::AllowList;
use crate::supervise::sandbox::Network;

/// This process's own environment. The secrets in it stay readable to whoever may read this process, which `main` leaves to
/// root alone: they cannot be removed safely from a running program. Child processes get an environment of their own, without them.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn value(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// All settings.
#[derive(Debug)]
pub struct Config {
    /// Where to listen. `VM_BIND`, `[::]:3001` when absent; port 0 takes any free one.
    pub bind: SocketAddr,
    /// Signs requests both ways. `VM_SECRET`, required.
    pub secret: SecretString,
    /// Where reports go.
    pub events: EventsConfig,
    /// The volume: runs, repositories, sessions. `DATA_DIR`, `/data` when absent.
    pub data_dir: PathBuf,
    /// Pictures. `IMAGES_DIR`, `images` below `DATA_DIR` when absent.
    pub images_dir: PathBuf,
    /// Who works.
    pub driver: DriverConfig,
    /// The browser that Claude Code looks at pages with. `CHROMIUM_PATH`, `chromium` when absent.
    pub chromium: PathBuf,
    /// How the agent is confined. `AGENT_UID`, `AGENT_GID`, `AGENT_MEMORY_MAX_MB`, `AGENT_PROCESSES_MAX`.
    pub confinement: Confinement,
    /// What of the machine the agent sees. `AGENT_SANDBOX`, `AGENT_NETWORK`, `AGENT_HOSTS`.
    pub sandbox: SandboxConfig,
    /// The agent's search path for programs. `PATH`.
    pub search_path: OsString,
    /// How to open pull requests; only branches are pushed when absent.
    pub github: Option<GitHubConfig>,
    /// Cloned when no repository is there. `REPO_URL`, none when absent.
    pub repo_url: Option<String>,
    /// Without a run, a pending approval, an unreported event or a request for this long, the process ends.
    /// `IDLE_TIMEOUT_MS`, never when absent or 0.
    pub idle_timeout: Option<Duration>,
    /// A run that takes longer is stopped. `RUN_TIMEOUT_MS`.
    pub run_timeout: Duration,
    /// How long an agent waits for a reply of the person's. `INQUIRY_TIMEOUT_MS`.
    pub inquiry_timeout: Duration,
    /// How long the process may take to end when it is told to. `SHUTDOWN_GRACE_MS`.
    pub shutdown_grace: Duration,
    /// How the log is written: `text` or `json`. `LOG_FORMAT`, `text` when absent.
    pub log_format: LogFormat,
    /// Which machine this is, for whoever watches. `FLY_MACHINE_ID`, `vm` when absent.
    pub instance: String,
    /// Where metrics are told. `METRICS_BIND`; nowhere when absent.
    pub metrics_bind: Option<SocketAddr>,
    /// Where traces go. `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER_ARG`.
    pub sampling: Option<Sampling>,
}

/// Where reports go. `EVENTS_URL`, required.
#[derive(Debug)]
pub enum EventsConfig {
    /// `http://…` or `https://…`: a relay that takes signed calls.
    Callback(Url),
    /// `redis://…` or `rediss://…`: the store that the relays share.
    Published {
        /// The server. It may hold a password.
        url: SecretString,
        /// Tells deployments apart that share a server. `RELAY_NAMESPACE`, that of the relays; [`NAMESPACE`] when absent.
        namespace: String,
    },
}

/// Which agent works, and how. `AGENT_DRIVER`: `claude`, `demo` or `acp:` and a command line; `claude` when absent and `ANTHROPIC_API_KEY` is set.
#[derive(Debug)]
pub enum DriverConfig {
    /// Claude Code.
    Claude {
        /// The program. `CLAUDE_PATH`, `claude` when absent.
        program: PathBuf,
        /// The key. `ANTHROPIC_API_KEY`; without it every run fails with a line that says so.
        api_key: Option<SecretString>,
        /// The API. `ANTHROPIC_BASE_URL`, Anthropic's own when absent.
        api_url: Url,
        /// Calls to the model per run at most. `MAX_TURNS`, the program's default when absent.
        turns_max: Option<u32>,
        /// What a run may cost, in US dollars. `MAX_BUDGET_USD`, no limit when absent.
        budget_usd: Option<f64>,
        /// How long an agent may say nothing while no tool of its is at work. `AGENT_SILENCE_TIMEOUT_MS`.
        silence_timeout: Duration,
        /// The model. `MODEL`, the program's default when absent.
        model: Option<String>,
    },
    /// Whatever speaks the Agent Client Protocol.
    Acp {
        /// What starts it.
        command: CommandLine,
        /// The key for Anthropic's API. `ANTHROPIC_API_KEY`; without it the agent needs a login of its own.
        api_key: Option<SecretString>,
        /// The API. `ANTHROPIC_BASE_URL`, Anthropic's own when absent.
        api_url: Url,
        /// How long an agent may say nothing while no tool of its is at work. `AGENT_SILENCE_TIMEOUT_MS`.
        silence_timeout: Duration,
    },
    /// The demo agent.
    Demo,
}

/// What of the machine an agent sees.
#[derive(Debug)]
pub struct SandboxConfig {
    /// Whether it is put into a sandbox. `AGENT_SANDBOX`: `on`, where one can be had, or `off`.
    pub is_wanted: bool,
    /// Its network. `AGENT_NETWORK`: `listed` or `open`.
    pub network: Network,
    /// The hosts that it reaches, beside registries of packages. `AGENT_HOSTS`, with commas.
    pub allowed: AllowList,
}

/// How to reach GitHub.
#[derive(Debug)]
pub struct GitHubConfig {
    /// May push branches and open pull requests. `GITHUB_TOKEN`.
    pub token: SecretString,
    /// The REST API. `GITHUB_API_URL`, that of github.com when absent.
    pub api_url: Url,
    /// Where repositories are cloned from. `GITHUB_URL`, that of github.com when absent.
    pub web_url: Url,
}

const BIND: &str = "[::]:3001";
const DATA_DIR: &str = "/data";
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const ANTHROPIC_URL: &str = "https://api.anthropic.com";
const GITHUB_API_URL: &str = "https://api.github.com";
const GITHUB_URL: &str = "https://github.com";
/// Long tasks take tens of minutes; one that takes longer than this hangs.
const RUN_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// A model that thinks long says nothing meanwhile; one that says nothing for longer than this hangs.
const AGENT_SILENCE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// A person who looks at their phone now and then has replied by then.
const INQUIRY_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Processes and threads of an agent with a user of its own.
const AGENT_PROCESSES_MAX: u64 = 2_048;
/// Fly.io kills a machine five seconds after its stop signal unless told otherwise.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(4_500);

impl DriverConfig {
    /// What people know the driver by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Claude { .. } => "claude",
            Self::Acp { .. } => "acp",
        }
    }
}

impl Config {
    /// Read all settings, or list everything that is wrong with them.
    pub fn read(environment: &impl Environment) -> Result<Self, Vec<Fault>> {
        Reader::read(environment, config)
    }
}

/// Every setting is read before the first missing one makes an end of it.
fn config(reader: &mut Reader) -> Option<Config> {
    let bind = reader.parsed("VM_BIND", BIND);
    let secret = reader.secret("VM_SECRET");
    let events = events(reader);
    let data_dir = PathBuf::from(reader.value("DATA_DIR").unwrap_or_else(|| DATA_DIR.to_owned()));
    let images_dir = reader.value("IMAGES_DIR").map_or_else(|| data_dir.join("images"), PathBuf::from);
    let driver = driver(reader);
    let confinement = confinement(reader);
    let sandbox = sandbox(reader);
    let github = github(reader);
    let idle_timeout = reader.millis("IDLE_TIMEOUT_MS", Duration::ZERO);
    let run_timeout = reader.millis("RUN_TIMEOUT_MS", RUN_TIMEOUT);
    let inquiry_timeout = reader.millis("INQUIRY_TIMEOUT_MS", INQUIRY_TIMEOUT);
    let shutdown_grace = reader.millis("SHUTDOWN_GRACE_MS", SHUTDOWN_GRACE);
    let log_format = LogFormat::read(reader);
    let metrics_bind = reader.optional("METRICS_BIND");
    let sampling = Sampling::read(reader);
    Some(Config {
        bind: bind?,
        secret: secret?,
        events: events?,
        data_dir,
        images_dir,
        driver: driver?,
        chromium: reader.value("CHROMIUM_PATH").unwrap_or_else(|| "chromium".to_owned()).into(),
        confinement: confinement?,
        sandbox: sandbox?,
        search_path: reader.value("PATH").unwrap_or_else(|| SEARCH_PATH.to_owned()).into(),
        github: github?,
        repo_url: reader.value("REPO_URL"),
        idle_timeout: Some(idle_timeout?).filter(|timeout| !timeout.is_zero()),
        run_timeout: run_timeout?,
        inquiry_timeout: inquiry_timeout?,
        shutdown_grace: shutdown_grace?,
        log_format: log_format?,
        instance: reader.value("FLY_MACHINE_ID").unwrap_or_else(|| "vm".to_owned()),
        metrics_bind,
        sampling,
    })
}

fn events(reader: &mut Reader) -> Option<EventsConfig> {
    let namespace = reader.value("RELAY_NAMESPACE").unwrap_or_else(|| NAMESPACE.to_owned());
    let namespace = match Keys::is_namespace(&namespace) {
        true => Some(namespace),
        false => reader.fault("RELAY_NAMESPACE", "must be of lower-case letters, digits and dashes, and not long"),
    };
    let value = reader.required("EVENTS_URL")?;
    match Url::parse(&value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            reader.url("EVENTS_URL", None).map(EventsConfig::Callback)
        }
        Ok(url) if url.scheme().starts_with("redis") => match check_address(&value) {
            Ok(()) => Some(EventsConfig::Published { url: value.into(), namespace: namespace? }),
            Err(error) => reader.fault("EVENTS_URL", error.to_string()),
        },
        // What was given is not repeated: it may hold a password.
        _ => reader.fault("EVENTS_URL", "must be a relay, http[s]://HOST[:PORT], or a store, redis[s]://…"),
    }
}

fn driver(reader: &mut Reader) -> Option<DriverConfig> {
    let api_key = reader.value("ANTHROPIC_API_KEY").map(SecretString::from);
    let api_url = reader.url("ANTHROPIC_BASE_URL", Some(ANTHROPIC_URL));
    let turns_max = reader.optional("MAX_TURNS");
    let budget_usd = match reader.optional::<f64>("MAX_BUDGET_USD") {
        Some(budget) if !(budget.is_finite() && budget > 0.0) => {
            reader.fault("MAX_BUDGET_USD", "must be a number of US dollars above zero, such as 2.50")
        }
        budget => Some(budget),
    };
    let silence_timeout = reader.millis("AGENT_SILENCE_TIMEOUT_MS", AGENT_SILENCE_TIMEOUT);
    let program = PathBuf::from(reader.value("CLAUDE_PATH").unwrap_or_else(|| "claude".to_owned()));
    match reader.value("AGENT_DRIVER").as_deref() {
        Some("demo") => Some(DriverConfig::Demo),
        None if api_key.is_none() => reader.fault(
            "AGENT_DRIVER",
            "required, but not set; set ANTHROPIC_API_KEY to use Claude Code, or AGENT_DRIVER=demo for the demo agent",
        ),
        Some("claude") | None => Some(DriverConfig::Claude {
            program,
            api_key,
            api_url: api_url?,
            turns_max,
            budget_usd: budget_usd?,
            silence_timeout: silence_timeout?,
            model: reader.value("MODEL"),
        }),
        Some(driver) => match driver.strip_prefix("acp:").map(CommandLine::parse) {
            Some(Ok(command)) => {
                Some(DriverConfig::Acp { command, api_key, api_url: api_url?, silence_timeout: silence_timeout? })
            }
            Some(Err(error)) => reader.fault("AGENT_DRIVER", error.to_string()),
            None => reader.fault("AGENT_DRIVER", "is neither claude, demo nor acp: with a command line"),
        },
    }
}

fn confinement(reader: &mut Reader) -> Option<Confinement> {
    let gid: Option<u32> = reader.optional("AGENT_GID");
    let user = match reader.optional::<u32>("AGENT_UID") {
        None => Some(None),
        Some(0) => reader.fault("AGENT_UID", "must not be root"),
        // Only root can run a program as somebody else, and give files away.
        Some(_) if !rustix::process::geteuid().is_root() => {
            reader.fault("AGENT_UID", "can be used by root alone: start vm-agent as root, or leave it out")
        }
        Some(uid) => Some(Some(AgentUser { uid, gid: gid.unwrap_or(uid) })),
    };
    let memory_bytes_max = match reader.optional::<u64>("AGENT_MEMORY_MAX_MB") {
        Some(megabytes) => Some(megabytes.saturating_mul(1024 * 1024)),
        None => memory_share(),
    };
    let processes_max = Some(reader.optional("AGENT_PROCESSES_MAX").unwrap_or(AGENT_PROCESSES_MAX));
    Some(Confinement { user: user?, memory_bytes_max, processes_max, cgroup: None })
}

fn sandbox(reader: &mut Reader) -> Option<SandboxConfig> {
    let is_wanted = match reader.value("AGENT_SANDBOX").as_deref() {
        None | Some("on") => Some(true),
        Some("off") => Some(false),
        Some(_) => reader.fault("AGENT_SANDBOX", "is neither on nor off"),
    };
    let network = match reader.value("AGENT_NETWORK").as_deref() {
        None | Some("listed") => Some(Network::Listed),
        Some("open") => Some(Network::Open),
        Some(_) => reader.fault("AGENT_NETWORK", "is neither listed nor open"),
    };
    let hosts: Vec<String> = reader.value("AGENT_HOSTS").map_or_else(Vec::new, |hosts| {
        hosts.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect()
    });
    let allowed = match AllowList::new(&hosts) {
        Ok(allowed) => Some(allowed),
        Err(host) => reader.fault("AGENT_HOSTS", format!("{host:?} is no host: name, name:port or *.name")),
    };
    Some(SandboxConfig { is_wanted: is_wanted?, network: network?, allowed: allowed? })
}

/// Nothing: a fault. Nothing inside: no token.
fn github(reader: &mut Reader) -> Option<Option<GitHubConfig>> {
    let api_url = reader.url("GITHUB_API_URL", Some(GITHUB_API_URL));
    let web_url = reader.url("GITHUB_URL", Some(GITHUB_URL));
    let (api_url, web_url) = (api_url?, web_url?);
    Some(reader.value("GITHUB_TOKEN").map(|token| GitHubConfig { token: token.into(), api_url, web_url }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn minimal() -> HashMap<&'static str, &'static str> {
        HashMap::from([
            ("VM_SECRET", "0123456789abcdef0123456789abcdef"),
            ("EVENTS_URL", "http://127.0.0.1:3000"),
            ("AGENT_DRIVER", "demo"),
        ])
    }

    fn faulty(environment: &HashMap<&str, &str>) -> Vec<&'static str> {
        Config::read(environment).unwrap_err().into_iter().map(|fault| fault.name).collect()
    }

    #[test]
    fn the_minimum_is_enough_and_has_defaults() {
        let config = Config::read(&minimal()).unwrap();
        assert!(matches!(config.driver, DriverConfig::Demo));
        assert_eq!(config.images_dir, PathBuf::from("/data/images"));
        assert_eq!((config.idle_timeout, config.github.is_none()), (None, true));
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        assert_eq!(faulty(&HashMap::new()), ["VM_SECRET", "EVENTS_URL", "AGENT_DRIVER"]);
        let mut environment = minimal();
        environment.extend([
            ("VM_BIND", "3001"),
            ("VM_SECRET", "short"),
            ("EVENTS_URL", "ftp://x"),
            ("RELAY_NAMESPACE", "Mine"),
            ("AGENT_DRIVER", "cursor"),
            ("MAX_TURNS", "many"),
            ("MAX_BUDGET_USD", "0"),
            ("AGENT_UID", "0"),
            ("AGENT_SANDBOX", "maybe"),
            ("AGENT_NETWORK", "none"),
            ("AGENT_HOSTS", "example.com,https://example.com"),
            ("GITHUB_API_URL", "nowhere"),
            ("RUN_TIMEOUT_MS", "-1"),
        ]);
        let names = [
            "VM_BIND",
            "VM_SECRET",
            "RELAY_NAMESPACE",
            "EVENTS_URL",
            "MAX_TURNS",
            "MAX_BUDGET_USD",
            "AGENT_DRIVER",
            "AGENT_UID",
            "AGENT_SANDBOX",
            "AGENT_NETWORK",
            "AGENT_HOSTS",
            "GITHUB_API_URL",
            "RUN_TIMEOUT_MS",
        ];
        assert_eq!(faulty(&environment), names);
    }

    #[test]
    fn the_address_for_events_says_how_they_are_delivered() {
        let events = |url| {
            let mut environment = minimal();
            environment.insert("EVENTS_URL", url);
            Config::read(&environment).map(|config| config.events)
        };
        for url in ["http://relay:3000/base", "https://relay.example.com"] {
            assert!(matches!(events(url), Ok(EventsConfig::Callback(_))), "{url}");
        }
        for url in ["redis://h", "rediss://u:p@h:6380/2", "redis://[::1]:6379/"] {
            assert!(
                matches!(events(url), Ok(EventsConfig::Published { namespace, .. }) if namespace == NAMESPACE),
                "{url}"
            );
        }
        for url in ["redis:h", "redis://", "redis://h/x", "redis://u:hunter2@h/300", "http://u:hunter2@h", "h:6379"] {
            let faults = events(url).unwrap_err();
            assert_eq!(faults[0].name, "EVENTS_URL", "{url}");
            assert!(!faults[0].problem.contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn the_driver_is_never_guessed() {
        let mut environment = minimal();
        environment.remove("AGENT_DRIVER");
        let faults = Config::read(&environment).unwrap_err();
        assert!(faults[0].problem.contains("ANTHROPIC_API_KEY") && faults[0].problem.contains("AGENT_DRIVER=demo"));
        environment.insert("ANTHROPIC_API_KEY", "sk-1");
        assert!(matches!(Config::read(&environment).unwrap().driver, DriverConfig::Claude { api_key: Some(_), .. }));
    }

    #[test]
    fn another_agent_is_named_by_its_command_line() {
        let mut environment = minimal();
        environment.insert("AGENT_DRIVER", "acp:A=1 opencode acp");
        match Config::read(&environment).unwrap().driver {
            DriverConfig::Acp { command, api_key: None, .. } => assert_eq!(command.args, ["acp"]),
            other => panic!("{other:?}"),
        }
        for (driver, problem) in [("acp:", "names no program"), ("acp:x 'y", "quote"), ("acp", "neither")] {
            environment.insert("AGENT_DRIVER", driver);
            let faults = Config::read(&environment).unwrap_err();
            assert!(faults[0].name == "AGENT_DRIVER" && faults[0].problem.contains(problem), "{faults:?}");
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let mut environment = minimal();
        environment.extend([("GITHUB_TOKEN", "ghp_x"), ("ANTHROPIC_API_KEY", "sk-1"), ("AGENT_DRIVER", "claude")]);
        environment.insert("EVENTS_URL", "redis://vm:hunter2@h");
        let printed = format!("{:?}", Config::read(&environment).unwrap());
        for secret in ["0123456789abcdef", "ghp_x", "sk-1", "hunter2"] {
            assert!(!printed.contains(secret));
        }
    }
}
