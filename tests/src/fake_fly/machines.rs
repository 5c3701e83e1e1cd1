//! The machines and volumes of the app, and what runs on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Runs;
use super::limits::Limits;
use crate::fake_vm::{FakeVm, Reports};
use crate::process::{Process, binary};
use crate::stack::free_address;

/// How often a wait looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// What whoever holds a lease by hand shows.
const BY_HAND: &str = "by-hand";

/// A refusal.
type Refused = (u16, String);

/// A machine, for a test to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: String,
    /// Whose it is, by its metadata.
    pub user: String,
    /// Its volume.
    pub volume: String,
    /// The environment that it was made with.
    pub env: BTreeMap<String, String>,
}

/// A volume, for a test to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The machine that has it.
    pub machine: Option<String>,
}

#[derive(Debug)]
enum Body {
    Agent(Box<Process>, String),
    Fake(FakeVm),
}

#[derive(Debug)]
struct Machine {
    view: MachineView,
    config: Value,
    region: String,
    /// The nonce, and when it runs out.
    lease: Option<(String, Instant)>,
    host: &'static str,
    body: Option<Body>,
}

#[derive(Debug)]
struct Volume {
    view: VolumeView,
    region: String,
}

#[derive(Debug, Default)]
struct App {
    machines: Vec<Machine>,
    volumes: Vec<Volume>,
    made: usize,
}

#[derive(Debug)]
pub(super) struct Machines {
    pub(super) limits: Limits,
    app: Mutex<App>,
    runs: Runs,
    boot: Duration,
    /// A volume is there so long after it was asked for.
    volume_takes: Mutex<Duration>,
    secrets: BTreeMap<String, String>,
    folder: TempDir,
}

impl Machines {
    pub(super) fn new(runs: Runs, boot: Duration, secrets: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("textslash-fly-").tempdir().expect("a temporary directory");
        let secrets = secrets.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self {
            limits: Limits::default(),
            app: Mutex::default(),
            runs,
            boot,
            volume_takes: Mutex::default(),
            secrets,
            folder,
        }
    }

    fn app(&self) -> MutexGuard<'_, App> {
        self.app.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With what has ended by itself known as stopped.
    fn looked(&self) -> MutexGuard<'_, App> {
        let mut app = self.app();
        for machine in &mut app.machines {
            if let Some(Body::Agent(process, _)) = &mut machine.body
                && !process.is_running()
            {
                machine.body = None;
                "stopped".clone_into(&mut machine.view.state);
            }
        }
        app
    }

    pub(super) fn view(&self) -> Vec<MachineView> {
        self.looked().machines.iter().map(|machine| machine.view.clone()).collect()
    }

    pub(super) fn volumes(&self) -> Vec<VolumeView> {
        self.app().volumes.iter().map(|volume| volume.view.clone()).collect()
    }

    pub(super) fn list(&self, user: Option<&str>) -> Value {
        let app = self.looked();
        let wanted = |machine: &&Machine| user.is_none_or(|user| machine.view.user == user);
        app.machines.iter().filter(wanted).map(Machine::told).collect()
    }

    pub(super) fn get(&self, id: &str) -> Result<Value, Refused> {
        let mut app = self.looked();
        app.machine(id).map(|machine| machine.told())
    }

    pub(super) fn create(self: &Arc<Self>, body: &Value) -> Result<Value, Refused> {
        let mut app = self.app();
        let name = body["name"].as_str().unwrap_or_default();
        if let Some(taken) = app.machines.iter().find(|machine| machine.view.name == name) {
            let error = format!(
                "already_exists: unique machine name violation, machine ID {} already exists with name {name:?}",
                taken.view.id
            );
            return Err((409, error));
        }
        let mount = &body["config"]["mounts"][0];
        let volume = mount["volume"].as_str().unwrap_or_default();
        let id = app.id("");
        let region = body["region"].as_str().unwrap_or_default();
        let found = app.volumes.iter_mut().find(|found| found.view.id == volume);
        let found = found.ok_or((400, format!("invalid_argument: no volume {volume}")))?;
        if found.view.machine.is_some() {
            return Err((412, "failed_precondition: volume is in use by another machine".to_owned()));
        }
        if found.region != region {
            return Err((422, "the volume is in another region".to_owned()));
        }
        found.view.machine = Some(id.clone());
        let env: BTreeMap<String, String> =
            serde_json::from_value(body["config"]["env"].clone()).expect("an environment of texts");
        assert_eq!(mount["path"], env["DATA_DIR"], "the volume is where vm-agent looks for it");
        let nonce = body["lease_ttl"].as_u64().map(|ttl| (format!("nonce{id}"), Duration::from_secs(ttl)));
        let view = MachineView {
            id: id.clone(),
            name: name.to_owned(),
            state: "created".to_owned(),
            user: body["config"]["metadata"]["user"].as_str().unwrap_or_default().to_owned(),
            volume: volume.to_owned(),
            env,
        };
        let machine = Machine {
            view,
            config: body["config"].clone(),
            region: region.to_owned(),
            lease: nonce.clone().map(|(nonce, ttl)| (nonce, Instant::now() + ttl)),
            host: "ok",
            body: None,
        };
        let mut told = machine.told();
        if let Some((nonce, _)) = nonce {
            told["nonce"] = nonce.into();
        }
        app.machines.push(machine);
        drop(app);
        tokio::spawn(Arc::clone(self).boot(id));
        Ok(told)
    }

    pub(super) fn start(self: &Arc<Self>, id: &str, nonce: Option<&str>) -> Result<Value, Refused> {
        let mut app = self.looked();
        let machine = app.machine(id)?;
        machine.may(nonce)?;
        match machine.view.state.as_str() {
            "started" => {}
            "stopped" => {
                "starting".clone_into(&mut machine.view.state);
                drop(app);
                tokio::spawn(Arc::clone(self).boot(id.to_owned()));
            }
            state => return Err((412, format!("failed_precondition: unable to start machine from state: {state}"))),
        }
        Ok(json!({ "previous_state": "stopped", "migrated": false, "new_host": "" }))
    }

    async fn boot(self: Arc<Self>, id: String) {
        sleep(self.boot).await;
        let (mut env, volume) = match self.app().machine(&id) {
            Ok(machine) => (machine.view.env.clone(), machine.view.volume.clone()),
            Err(_) => return,
        };
        env.extend(self.secrets.clone());
        let body = match self.runs {
            Runs::Fake(pace) => {
                let vm = FakeVm::start(&env["VM_SECRET"], pace).await;
                vm.report_to(vec![Reports::Callback(env["EVENTS_URL"].clone())]);
                Body::Fake(vm)
            }
            Runs::Agent => {
                let address = free_address();
                env.insert("VM_BIND".to_owned(), address.to_string());
                env.insert("DATA_DIR".to_owned(), self.folder.path().join(&volume).display().to_string());
                env.insert("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned());
                let mut process = start_agent(&env);
                while TcpStream::connect(address).await.is_err() {
                    assert!(process.is_running(), "vm-agent ended:\n{}", process.lines().join("\n"));
                    sleep(LOOK_PAUSE).await;
                }
                Body::Agent(Box::new(process), format!("http://{address}"))
            }
        };
        if let Ok(machine) = self.app().machine(&id) {
            machine.body = Some(body);
            "started".clone_into(&mut machine.view.state);
        }
    }

    pub(super) async fn wait(&self, id: &str, state: &str, timeout: Duration) -> Result<Value, Refused> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.looked().machine(id)?.view.state == state {
                return Ok(json!({ "ok": true }));
            }
            if Instant::now() >= deadline {
                return Err((408, format!("deadline_exceeded: machine failed to reach desired state, {state}")));
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    pub(super) fn lease(&self, id: &str, nonce: Option<&str>) -> Result<Value, Refused> {
        let mut app = self.app();
        let machine = app.machine(id)?;
        machine.may(nonce)?;
        let nonce = format!("lease{id}");
        machine.lease = Some((nonce.clone(), Instant::now() + Duration::from_secs(30)));
        Ok(json!({ "status": "success", "data": { "nonce": nonce, "expires_at": 0, "owner": "test", "version": "1" } }))
    }

    pub(super) fn release(&self, id: &str, nonce: Option<&str>) -> Result<Value, Refused> {
        let mut app = self.app();
        let machine = app.machine(id)?;
        machine.may(nonce)?;
        machine.lease = None;
        Ok(Value::Null)
    }

    pub(super) async fn destroy(&self, id: &str, nonce: Option<&str>, is_forced: bool) -> Result<Value, Refused> {
        {
            let mut app = self.looked();
            let machine = app.machine(id)?;
            machine.may(nonce)?;
            if machine.view.state == "started" && !is_forced {
                return Err((412, "failed_precondition: machine is started".to_owned()));
            }
        }
        self.lose(id).await;
        Ok(json!({ "ok": true }))
    }

    pub(super) fn list_volumes(&self) -> Value {
        self.app().volumes.iter().map(Volume::told).collect()
    }

    pub(super) fn get_volume(&self, id: &str) -> Result<Value, Refused> {
        let app = self.app();
        let found = app.volumes.iter().find(|volume| volume.view.id == id);
        found.map(Volume::told).ok_or((404, "volume not found".to_owned()))
    }

    pub(super) fn set_volume_takes(&self, takes: Duration) {
        *self.volume_takes.lock().unwrap_or_else(PoisonError::into_inner) = takes;
    }

    pub(super) async fn create_volume_slowly(&self, body: &Value) -> Result<Value, Refused> {
        let takes = *self.volume_takes.lock().unwrap_or_else(PoisonError::into_inner);
        sleep(takes).await;
        self.create_volume(body)
    }

    fn create_volume(&self, body: &Value) -> Result<Value, Refused> {
        let name = body["name"].as_str().unwrap_or_default();
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > 30 || !name.chars().all(is_name) {
            return Err((400, "invalid_argument: volume name must be of [a-z0-9_], at most 30".to_owned()));
        }
        let mut app = self.app();
        let view = VolumeView { id: app.id("vol_"), name: name.to_owned(), machine: None };
        let volume = Volume { view, region: body["region"].as_str().unwrap_or_default().to_owned() };
        let told = volume.told();
        app.volumes.push(volume);
        Ok(told)
    }

    pub(super) fn destroy_volume(&self, id: &str) -> Result<Value, Refused> {
        let mut app = self.app();
        let found = app.volumes.iter().position(|volume| volume.view.id == id);
        let found = found.ok_or((404, "volume not found".to_owned()))?;
        if app.volumes[found].view.machine.is_some() {
            return Err((412, "failed_precondition: volume is in use by a machine".to_owned()));
        }
        let volume = app.volumes.remove(found);
        Ok(volume.told())
    }

    /// Where a machine answers, once it is started; it is started if it is stopped.
    pub(super) async fn reach(self: &Arc<Self>, id: &str, patience: Duration) -> Option<String> {
        // A lease does not keep the proxy from it.
        let lease = self.app().machine(id).ok()?.lease.clone();
        // One that is on its way up is waited for all the same.
        let _ = self.start(id, lease.as_ref().map(|(nonce, _)| nonce.as_str()));
        self.wait(id, "started", patience).await.ok()?;
        let mut app = self.app();
        match (app.machine(id).ok()?.host, &app.machine(id).ok()?.body) {
            ("unreachable", _) | (_, None) => None,
            (_, Some(Body::Agent(_, url))) => Some(url.clone()),
            (_, Some(Body::Fake(vm))) => Some(vm.url()),
        }
    }

    pub(super) async fn stop(&self, id: &str) {
        let body = self.app().machine(id).expect("the machine is there").body.take();
        if let Some(Body::Agent(mut process, _)) = body {
            process.terminate(STOP_TIMEOUT).await;
        }
        "stopped".clone_into(&mut self.app().machine(id).expect("the machine is there").view.state);
    }

    pub(super) async fn lose(&self, id: &str) {
        let lost = {
            let mut app = self.app();
            for volume in &mut app.volumes {
                volume.view.machine.take_if(|machine| machine == id);
            }
            let found = app.machines.iter().position(|machine| machine.view.id == id).expect("the machine is there");
            app.machines.remove(found)
        };
        if let Some(Body::Agent(mut process, _)) = lost.body {
            process.kill().await;
        }
    }

    pub(super) async fn lose_volume(&self, id: &str) {
        let machine = self.volumes().into_iter().find(|volume| volume.id == id).and_then(|volume| volume.machine);
        if let Some(machine) = machine {
            self.lose(&machine).await;
        }
        self.app().volumes.retain(|volume| volume.view.id != id);
    }

    pub(super) fn cut_host(&self, id: &str, is_cut: bool) {
        self.app().machine(id).expect("the machine is there").host = if is_cut { "unreachable" } else { "ok" };
    }

    pub(super) fn add_volume(&self, name: &str) {
        self.create_volume(&json!({ "name": name, "region": "fra" })).expect("a fine name");
    }

    pub(super) fn hold(&self, id: &str, is_held: bool) {
        let lease = is_held.then(|| (BY_HAND.to_owned(), Instant::now() + STOP_TIMEOUT * 4));
        self.app().machine(id).expect("the machine is there").lease = lease;
    }
}

fn start_agent(env: &BTreeMap<String, String>) -> Process {
    let vars: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Process::start(&binary("vm-agent"), &[], &vars)
}

impl App {
    fn id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{:014x}", 0x148e_127d_0000 + self.made)
    }

    fn machine(&mut self, id: &str) -> Result<&mut Machine, Refused> {
        let found = self.machines.iter_mut().find(|machine| machine.view.id == id);
        found.ok_or((404, "not_found: machine not found".to_owned()))
    }
}

impl Machine {
    /// Whether somebody with this nonce may change it.
    fn may(&self, nonce: Option<&str>) -> Result<(), Refused> {
        match &self.lease {
            Some((held, until)) if Instant::now() < *until && Some(held.as_str()) != nonce => {
                Err((409, format!("machine ID {} lease currently held by test", self.view.id)))
            }
            _ => Ok(()),
        }
    }

    fn told(&self) -> Value {
        json!({
            "id": self.view.id, "name": self.view.name, "state": self.view.state, "region": self.region,
            "instance_id": format!("01{}", self.view.id), "host_status": self.host, "config": self.config,
            "created_at": "2026-11-01T00:00:00Z", "updated_at": "2026-11-01T00:00:00Z", "events": []
        })
    }
}

impl Volume {
    fn told(&self) -> Value {
        json!({
            "id": self.view.id, "name": self.view.name, "state": "created", "region": self.region, "size_gb": 10,
            "attached_machine_id": self.view.machine, "attached_alloc_id": null, "host_status": "ok",
            "created_at": "2026-11-01T00:00:00Z"
        })
    }
}
