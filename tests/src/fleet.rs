//! Several relays on one Redis, as a deployment has them: HAProxy in front, a fake Twilio, one VM behind, and a faulty
//! network between the relays and Redis. Every relay can be killed, frozen and started again while the others go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use tempfile::TempDir;

use crate::cut::Cut;
use crate::fake_vm::{FakeVm, Publisher, Reports};
use crate::haproxy::{Balance, Haproxy};
use crate::process::{Process, binary};
use crate::redis::RedisServer;
use crate::stack::{SECRET, START_TIMEOUT, free_address, sample_origin};
use crate::twilio::{FakeTwilio, Sent};
use crate::wait::wait_for;

mod post;
mod relay;

pub use post::{ACCOUNT, Post, TOKEN};
pub use relay::Relay;

/// Our sender.
pub const SENDER: &str = "whatsapp:+14155238886";

/// The `number`th person who may write.
pub fn person(number: usize) -> String {
    format!("whatsapp:+1555{number:07}")
}

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmKind {
    /// vm-agent with the demo agent, on a bare origin of its own.
    Real,
    /// [`FakeVm`]: each step of a run takes up to this long.
    Fake(Duration),
}

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct FleetPlan {
    /// Relay processes.
    pub relays: usize,
    /// People who may write: [`person`] 0 to this.
    pub people: usize,
    /// Whether Redis lets the relays turn keyspace notifications on; if not, it knows no `CONFIG` at all.
    pub notifications: bool,
    /// Whether the VM publishes its reports to Redis; if not, it calls back through the edge.
    pub published: bool,
    /// Who does the work.
    pub vm: VmKind,
    /// Whether there are the templates that `relay admin twilio-template` makes.
    pub templates: bool,
    /// How the edge spreads requests.
    pub balance: Balance,
    /// By how many seconds each relay's clock is wrong; a relay that is not named here has the right time.
    pub clock_offsets_s: Vec<i64>,
    /// Settings of every relay beyond those that it needs; they win over those.
    pub relay: Vec<(String, String)>,
    /// Settings of the real VM beyond those that it needs; they win over those.
    pub vm_settings: Vec<(String, String)>,
    /// Arguments of redis-server beyond its own; they win over those.
    pub redis: Vec<String>,
}

impl Default for FleetPlan {
    fn default() -> Self {
        Self {
            relays: 2,
            people: 1,
            notifications: true,
            published: true,
            vm: VmKind::Fake(Duration::from_millis(200)),
            templates: false,
            balance: Balance::default(),
            clock_offsets_s: Vec::new(),
            relay: Vec::new(),
            vm_settings: Vec::new(),
            redis: Vec::new(),
        }
    }
}

impl FleetPlan {
    /// Also give this setting to every relay.
    #[must_use]
    pub fn relay(mut self, name: &str, value: impl Into<String>) -> Self {
        self.relay.push((name.to_owned(), value.into()));
        self
    }
}

/// The running parts.
#[derive(Debug)]
pub struct Fleet {
    /// The Redis that the relays share. Kill it and start it again at will.
    pub redis: RedisServer,
    /// Stands between Redis and everybody else, a VM that publishes included.
    pub cut: Cut,
    /// Takes what the relays send.
    pub twilio: Arc<FakeTwilio>,
    /// The fake VM, unless the plan asks for a real one.
    pub fake_vm: Option<FakeVm>,
    /// The real one.
    pub vm: Option<Process>,
    relays: Vec<Relay>,
    edge: Haproxy,
    folder: TempDir,
}

impl Fleet {
    /// Start everything and wait until every relay is ready.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn start(plan: FleetPlan) -> Self {
        let mut fleet = Self::prepare(plan).await;
        for number in 0..fleet.relays.len() {
            fleet.start_relay(number).await;
        }
        fleet
    }

    /// Everything but the relays.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn prepare(plan: FleetPlan) -> Self {
        let folder = tempfile::Builder::new().prefix("textslash-fleet-").tempdir().expect("a temporary directory");
        let no_config: &[&str] = if plan.notifications { &[] } else { &["--rename-command", "CONFIG", ""] };
        let redis_args: Vec<&str> = no_config.iter().copied().chain(plan.redis.iter().map(String::as_str)).collect();
        let redis = RedisServer::start(&redis_args).await;
        let cut = Cut::before(redis.address()).await;
        let twilio = Arc::new(FakeTwilio::start(ACCOUNT, TOKEN).await);
        let addresses: Vec<SocketAddr> = (0..plan.relays).map(|_| free_address()).collect();
        let edge = Haproxy::before(&addresses, plan.balance).await;
        let events_url = if plan.published { cut.url() } else { edge.url() };
        let (vm_url, vm, fake_vm) = match plan.vm {
            VmKind::Real => {
                let (url, vm) = real_vm(&folder, &events_url, &plan.vm_settings).await;
                (url, Some(vm), None)
            }
            VmKind::Fake(pace) => {
                let vm = FakeVm::start(SECRET, pace).await;
                vm.report_to(vec![match plan.published {
                    true => Reports::Published(Arc::new(Publisher::new(&events_url))),
                    false => Reports::Callback(events_url),
                }]);
                (vm.url(), None, Some(vm))
            }
        };
        let people: Vec<String> = (0..plan.people).map(person).collect();
        let common = [
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("RUST_LOG", "info".to_owned()),
            ("PUBLIC_URL", edge.url()),
            ("STATE_STORE", cut.url()),
            ("RELAY_SECRET", SECRET.to_owned()),
            ("VM_URL", vm_url),
            ("VM_SECRET", SECRET.to_owned()),
            ("TWILIO_ACCOUNT_SID", ACCOUNT.to_owned()),
            ("TWILIO_AUTH_TOKEN", TOKEN.to_owned()),
            ("TWILIO_FROM", SENDER.to_owned()),
            ("TWILIO_API_URL", twilio.url()),
            ("TWILIO_CONTENT_URL", twilio.url()),
            ("TWILIO_MESSAGING_URL", twilio.url()),
            ("TWILIO_MEDIA_HOSTS", twilio.media_host()),
            // People here are quicker than people are.
            ("TWILIO_MESSAGES_PER_SECOND", "1000".to_owned()),
            ("TWILIO_USER_INTERVAL_MS", "0".to_owned()),
            ("ALLOWED_PHONE_NUMBERS", people.join(",")),
        ];
        let vars: Vec<(String, String)> = common.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let mut settings = if plan.templates { twilio.make_templates(SENDER).await } else { Vec::new() };
        settings.extend(plan.relay);
        let offset = |number: usize| plan.clock_offsets_s.get(number).copied().unwrap_or_default();
        let relays: Vec<Relay> = addresses
            .into_iter()
            .enumerate()
            .map(|(number, address)| Relay::new(number, address, offset(number), &vars, &settings))
            .collect();
        for relay in &relays {
            twilio.add_key(relay.api_key(), TOKEN);
        }
        Self { redis, cut, twilio, fake_vm, vm, relays, edge, folder }
    }

    /// One of the relays, counted from 0, up or not.
    pub fn relay(&self, number: usize) -> &Relay {
        &self.relays[number]
    }

    /// How many relays there are, up or not.
    pub fn len(&self) -> usize {
        self.relays.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    /// How the world reaches the relays.
    pub fn edge_url(&self) -> String {
        self.edge.url()
    }

    /// Where the real VM keeps its data and its origin (`vm`, `origin.git`).
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Start a relay that is not up, and wait until it answers `/ready` with 200.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start_relay(&mut self, number: usize) {
        self.spawn_relay(number).await;
        let url = format!("{}/ready", self.relays[number].url());
        wait_for(&format!("relay {number} to be ready"), START_TIMEOUT, async || {
            let answer = Client::new().get(&url).send().await.map_err(|error| error.to_string())?;
            if answer.status() == 200 { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await;
    }

    /// Start a relay that is not up, and wait only until it listens: Redis may be down.
    ///
    /// # Panics
    /// When it does not listen.
    pub async fn spawn_relay(&mut self, number: usize) {
        self.relays[number].start().await;
    }

    /// kill -9 a relay that is up.
    ///
    /// # Panics
    /// When it is not.
    pub async fn kill(&mut self, number: usize) {
        self.relays[number].kill().await;
    }

    /// SIGTERM a relay, and wait until it has given everything back.
    ///
    /// # Panics
    /// When it is not up, does not end in time, or ends with an error.
    pub async fn stop(&mut self, number: usize) {
        self.relays[number].stop().await;
    }

    /// SIGSTOP: the relay keeps its connections and does nothing.
    pub fn freeze(&self, number: usize) {
        self.relays[number].freeze();
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn thaw(&self, number: usize) {
        self.relays[number].thaw();
    }

    /// What posts webhooks, for use while the fleet is being changed.
    pub fn post(&self) -> Post {
        Post::new(self.edge_url(), self.relays.iter().map(Relay::url).collect())
    }

    /// Write as this person, through the edge; the status, or `None` when there was no answer.
    pub async fn write(&self, person: &str, sid: &str, body: &str) -> Option<u16> {
        self.post().write(person, sid, body).await
    }

    /// A button that this person presses, through the edge.
    pub async fn press(&self, person: &str, sid: &str, payload: &str) -> Option<u16> {
        self.post().press(person, sid, payload).await
    }

    /// Where a relay's metrics are.
    pub fn metrics_address(&self, relay: usize) -> SocketAddr {
        self.relays[relay].metrics_address()
    }

    /// What a relay has counted since its start, by name and labels.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn counters(&self, relay: usize) -> std::collections::BTreeMap<String, u64> {
        let answer =
            reqwest::get(format!("http://{}/metrics", self.metrics_address(relay))).await.expect("the relay answers");
        let text = answer.text().await.expect("a text");
        let count = |line: &str| {
            let (name, count) = line.rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        text.lines().filter(|line| !line.starts_with('#')).filter_map(count).collect()
    }

    /// Write as this person, at one relay.
    pub async fn write_via(&self, relay: usize, person: &str, sid: &str, body: &str) -> Option<u16> {
        self.post().write_via(relay, person, sid, body).await
    }

    /// The messages that this person got so far.
    pub fn read(&self, person: &str) -> Vec<Sent> {
        self.twilio.sent().into_iter().filter(|sent| sent.to == person).collect()
    }

    /// The first message to this person that holds `text`.
    ///
    /// # Panics
    /// When none has come within `bound`; with all that came.
    pub async fn reads(&self, person: &str, text: &str, bound: Duration) -> Sent {
        wait_for(&format!("{person} to read {text:?}"), bound, async || {
            let read = self.read(person);
            read.iter().find(|sent| sent.body.contains(text)).cloned().ok_or(read)
        })
        .await
    }

    /// What every relay has logged, also those that are gone.
    pub fn logs(&self) -> String {
        let logs = self.relays.iter().map(|relay| format!("relay {}:\n{}", relay.number(), relay.lines().join("\n")));
        logs.collect::<Vec<_>>().join("\n")
    }
}

async fn real_vm(folder: &TempDir, events_url: &str, more: &[(String, String)]) -> (String, Process) {
    let origin = folder.path().join("origin.git");
    sample_origin(&origin);
    let (origin, data) = (origin.display().to_string(), folder.path().join("vm").display().to_string());
    let address = free_address();
    let bind = address.to_string();
    let mut vars = vec![
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("RUST_LOG", "info"),
        ("VM_BIND", &bind),
        ("VM_SECRET", SECRET),
        ("EVENTS_URL", events_url),
        ("DATA_DIR", &data),
        ("REPO_URL", &origin),
        ("AGENT_DRIVER", "demo"),
    ];
    vars.extend(more.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut vm = Process::start(&binary("vm-agent"), &[], &vars);
    vm.wait_for_line("listening on", START_TIMEOUT).await;
    (format!("http://{address}"), vm)
}
