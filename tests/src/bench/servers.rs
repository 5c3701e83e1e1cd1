//! The programs under measurement: each a process on a core of its own choosing, and what the kernel says of it.

use std::env::current_exe;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::fakes::Fake;
use super::load::connect;
use super::webhooks::{ACCOUNT_SID, AUTH_TOKEN, PUBLIC_URL, TO, number};
use crate::stack::{SECRET, free_address};

/// Where the server under measurement runs, alone.
pub(super) const SERVER_CORE: &str = "0";
/// Where everything else runs: this program, which `./dev bench` starts there, and Redis.
pub(super) const LOAD_CORE: &str = "1";
/// Far longer than any start takes.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks at a server that starts.
pub(super) const START_POLL: Duration = Duration::from_millis(1);
/// Lines of a log in an error message.
const LINES_SHOWN: usize = 20;
/// What the kernel counts processor time in (`sysconf(_SC_CLK_TCK)`, the same on every Linux of today).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running program; killed when dropped.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    log: NamedTempFile,
}

impl Program {
    /// Start `program` on `core` with these arguments and no environment but `vars`. What it writes goes to a file.
    pub(super) fn start(core: &str, program: &str, args: &[&str], vars: &[(&str, &str)]) -> anyhow::Result<Self> {
        let log = NamedTempFile::new()?;
        let output = log.reopen()?;
        let child = Command::new("taskset")
            .args(["--cpu-list", core, program])
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(vars.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {program} on core {core} by taskset"))?;
        Ok(Self { child, log })
    }

    /// kill -9, and wait until it is gone.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Processor time that it has taken so far.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(&self.proc("stat")?)
    }

    /// Resident memory now, in MB (10⁶ bytes).
    pub(super) fn resident_mb(&self) -> anyhow::Result<f64> {
        self.status_mb("VmRSS:")
    }

    /// The most resident memory that it ever had, in MB.
    pub(super) fn resident_peak_mb(&self) -> anyhow::Result<f64> {
        self.status_mb("VmHWM:")
    }

    /// The last lines that it wrote.
    pub(super) fn log_end(&self) -> String {
        let log = fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    fn status_mb(&self, name: &str) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let pid = self.child.id().context("the program has ended")?;
        Ok(fs::read_to_string(format!("/proc/{pid}/{file}"))?)
    }
}

/// Processor time of this process so far.
pub(super) fn own_cpu() -> anyhow::Result<Duration> {
    cpu(&fs::read_to_string("/proc/self/stat")?)
}

/// User and system time from the text of a `stat` file (proc(5): fields 14 and 15).
fn cpu(stat: &str) -> anyhow::Result<Duration> {
    let (_, fields) = stat.rsplit_once(") ").context("a stat file has a name in brackets")?;
    let ticks: Result<Vec<f64>, _> = fields.split(' ').skip(11).take(2).map(str::parse).collect();
    Ok(Duration::from_secs_f64(ticks?.iter().sum::<f64>() / TICKS_PER_SECOND))
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> u16 {
    free_address().port()
}

/// A server that takes webhooks.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The process.
    pub(super) program: Program,
    /// From its start until `/ready` said so.
    pub(super) ready_after: Duration,
}

/// What a relay is started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// `STATE_STORE`
    pub(super) store: &'a str,
    /// Where messages are sent.
    pub(super) twilio: &'a Fake,
    /// Where runs are started.
    pub(super) vm: &'a Fake,
    /// How many people may write.
    pub(super) users: usize,
}

impl Server {
    /// A relay as it is shipped, with the settings that a deployment has to give and no others.
    pub(super) async fn relay(surroundings: Surroundings<'_>) -> anyhow::Result<Self> {
        Self::relay_with(surroundings, &[]).await
    }

    /// The same with more settings.
    pub(super) async fn relay_with(
        surroundings: Surroundings<'_>,
        settings: &[(&'static str, String)],
    ) -> anyhow::Result<Self> {
        let Surroundings { store, twilio, vm, users } = surroundings;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let allowed = (0..users).map(number).collect::<Vec<_>>().join(",");
        let mut vars = vec![
            ("RELAY_BIND", address.to_string()),
            ("PUBLIC_URL", PUBLIC_URL.to_owned()),
            ("STATE_STORE", store.to_owned()),
            ("RELAY_SECRET", SECRET.to_owned()),
            ("VM_URL", vm.url()),
            ("VM_SECRET", SECRET.to_owned()),
            ("TWILIO_ACCOUNT_SID", ACCOUNT_SID.to_owned()),
            ("TWILIO_AUTH_TOKEN", AUTH_TOKEN.to_owned()),
            ("TWILIO_FROM", TO.to_owned()),
            ("TWILIO_API_URL", twilio.url()),
            ("TWILIO_MESSAGING_URL", twilio.url()),
            ("TWILIO_CONTENT_URL", twilio.url()),
            ("ALLOWED_PHONE_NUMBERS", allowed),
        ];
        vars.extend_from_slice(settings);
        let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let started = Instant::now();
        let relay = path_text(&built("relay")?)?;
        Self::wait(address, Program::start(SERVER_CORE, &relay, &[], &vars)?, started).await
    }

    /// The baseline.
    pub(super) async fn baseline(redis_url: &str) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let bind = address.to_string();
        let args = ["baseline", "--bind", &bind, "--redis", redis_url];
        let started = Instant::now();
        let own = path_text(&current_exe()?)?;
        Self::wait(address, Program::start(SERVER_CORE, &own, &args, &[])?, started).await
    }

    async fn wait(address: SocketAddr, program: Program, started: Instant) -> anyhow::Result<Self> {
        while !is_ready(address).await {
            ensure!(started.elapsed() < START_TIMEOUT, "a server did not get ready:\n{}", program.log_end());
            sleep(START_POLL).await;
        }
        Ok(Self { address, program, ready_after: started.elapsed() })
    }
}

/// Whether `/ready` answers 200.
async fn is_ready(address: SocketAddr) -> bool {
    let request = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let Ok(mut connection) = connect(address).await else { return false };
    connection.ask(request).await.is_ok_and(|answer| answer.status() == 200)
}

/// What `relay admin` tells, as JSON.
pub(super) async fn admin(args: &[&str], vars: &[(&str, &str)]) -> anyhow::Result<serde_json::Value> {
    let output = Command::new(built("relay")?).arg("admin").args(args).envs(vars.iter().copied()).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A binary that was built with this one.
fn built(name: &str) -> anyhow::Result<PathBuf> {
    let own = current_exe()?;
    let path = own.parent().context("a program lies in a folder")?.join(name);
    ensure!(path.is_file(), "{} is not built: run ./dev bench", path.display());
    Ok(path)
}

fn path_text(path: &Path) -> anyhow::Result<String> {
    path.to_str().map(str::to_owned).context("a path that is text")
}
