//! Fly.io, as far as the relay uses it: the Machines API for one app, with its limits, leases and states, and the private proxy
//! in front of the app's machines. What runs on a machine is a real vm-agent or a [`FakeVm`](crate::fake_vm::FakeVm).
//!
//! It is made after what Fly.io and its clients publish: names of machines are taken once and those of volumes are not, a volume
//! is on one machine, a machine is where its volume is, secrets of the app come on top of a machine's environment.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use axum::response::Response;
use serde_json::{Value, json};

use crate::server::{Faults, Received, Server, empty, json as answer_json};

mod limits;
mod machines;
mod proxy;

pub use machines::{MachineView, VolumeView};

use machines::Machines;

/// The app of the machines.
pub const APP: &str = "textslash-vm";
/// The right to see to them.
pub const TOKEN: &str = "fm2_for-tests-only";
/// Fly.io waits no longer for a state.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// vm-agent, as a process.
    Agent,
    /// A VM inside the test: each step of a run takes up to this long.
    Fake(Duration),
}

/// What can be asked of the API: what faults and limits are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Machines of the app.
    ListMachines,
    /// One machine.
    GetMachine,
    /// Make a machine.
    CreateMachine,
    /// Start a machine.
    Start,
    /// Wait for a machine's state.
    Wait,
    /// Take or give back a lease.
    Lease,
    /// Destroy a machine.
    DestroyMachine,
    /// Volumes of the app.
    ListVolumes,
    /// One volume.
    GetVolume,
    /// Make a volume.
    CreateVolume,
    /// Destroy a volume.
    DestroyVolume,
}

/// The API and the proxy, until dropped.
#[derive(Debug)]
pub struct FakeFly {
    api: Server,
    proxy: Server,
    machines: Arc<Machines>,
    faults: Faults<Operation>,
}

impl FakeFly {
    /// Start both. A machine is up `boot` after it was made or started; `secrets` are the app's.
    pub async fn start(runs: Runs, boot: Duration, secrets: &[(&str, &str)]) -> Self {
        let machines = Arc::new(Machines::new(runs, boot, secrets));
        let faults = Faults::default();
        let (serving, failing) = (Arc::clone(&machines), faults.clone());
        let api = Server::start(move |request| {
            let (machines, faults) = (Arc::clone(&serving), failing.clone());
            async move { answer(&machines, &faults, request).await }
        })
        .await;
        let serving = Arc::clone(&machines);
        let proxy = Server::start(move |request| {
            let machines = Arc::clone(&serving);
            async move { proxy::pass(&machines, request).await }
        })
        .await;
        Self { api, proxy, machines, faults }
    }

    /// What the relays need to know of it. Machines report to their `PUBLIC_URL`.
    pub fn settings(&self) -> Vec<(String, String)> {
        [
            ("VM_DIRECTORY", "fly"),
            ("VM_APP", APP),
            ("FLY_API_TOKEN", TOKEN),
            ("VM_API_URL", &self.api.url()),
            ("VM_URL", &self.proxy.url()),
            ("VM_IMAGE", "registry.fly.io/textslash-vm:test"),
            ("VM_REGION", "fra"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// What the API does wrong, and when.
    pub fn faults(&self) -> &Faults<Operation> {
        &self.faults
    }

    /// Every machine that is there.
    pub fn machines(&self) -> Vec<MachineView> {
        self.machines.view()
    }

    /// Every volume that is there.
    pub fn volumes(&self) -> Vec<VolumeView> {
        self.machines.volumes()
    }

    /// Every request to the API so far.
    pub fn requests(&self) -> Vec<Received> {
        self.api.requests()
    }

    /// How many requests to the API were for this operation.
    pub fn count(&self, operation: Operation) -> usize {
        let of = |request: &Received| Call::of(request).is_some_and(|call| call.operation == operation);
        self.api.requests().iter().filter(|request| of(request)).count()
    }

    /// How many requests were refused because there were too many.
    pub fn limited(&self) -> usize {
        self.machines.limits.refused()
    }

    /// A machine ends in order, as one does that has nothing to do.
    pub async fn stop(&self, machine: &str) {
        self.machines.stop(machine).await;
    }

    /// Somebody destroys a machine by hand.
    pub async fn lose_machine(&self, machine: &str) {
        self.machines.lose(machine).await;
    }

    /// A volume is gone, with the machine that had it.
    pub async fn lose_volume(&self, volume: &str) {
        self.machines.lose_volume(volume).await;
    }

    /// The host of a machine can't be reached, or can again.
    pub fn cut_host(&self, machine: &str, is_cut: bool) {
        self.machines.cut_host(machine, is_cut);
    }

    /// A volume is there, and seen by others, so long after it was asked for.
    pub fn slow_volumes(&self, takes: Duration) {
        self.machines.set_volume_takes(takes);
    }

    /// Make a volume by hand, as an operator might.
    pub fn add_volume(&self, name: &str) {
        self.machines.add_volume(name);
    }

    /// Take the lease of a machine, as an operator at work on it has it, or give it back.
    pub fn hold(&self, machine: &str, is_held: bool) {
        self.machines.hold(machine, is_held);
    }
}

/// What a request to the API is for.
pub(crate) struct Call {
    operation: Operation,
    id: String,
}

impl Call {
    fn of(request: &Received) -> Option<Self> {
        let path: Vec<&str> =
            request.path.strip_prefix("/v1/apps/")?.strip_prefix(APP)?.strip_prefix('/')?.split('/').collect();
        let (operation, id) = match (&request.method, path.as_slice()) {
            (&Method::GET, ["machines"]) => (Operation::ListMachines, APP),
            (&Method::POST, ["machines"]) => (Operation::CreateMachine, APP),
            (&Method::GET, ["machines", id]) => (Operation::GetMachine, *id),
            (&Method::DELETE, ["machines", id]) => (Operation::DestroyMachine, *id),
            (&Method::POST, ["machines", id, "start"]) => (Operation::Start, *id),
            (&Method::GET, ["machines", id, "wait"]) => (Operation::Wait, *id),
            (&Method::POST | &Method::DELETE, ["machines", id, "lease"]) => (Operation::Lease, *id),
            (&Method::GET, ["volumes"]) => (Operation::ListVolumes, APP),
            (&Method::POST, ["volumes"]) => (Operation::CreateVolume, APP),
            (&Method::GET, ["volumes", id]) => (Operation::GetVolume, *id),
            (&Method::DELETE, ["volumes", id]) => (Operation::DestroyVolume, *id),
            _ => return None,
        };
        Some(Self { operation, id: id.to_owned() })
    }
}

async fn answer(machines: &Arc<Machines>, faults: &Faults<Operation>, request: Received) -> Response {
    let token = request.header("authorization").unwrap_or_default();
    if token != format!("FlyV1 {TOKEN}") {
        return answer_json(401, json!({ "error": "Authenticate: token validation error" }));
    }
    let Some(call) = Call::of(&request) else { return answer_json(404, json!({ "error": "not found" })) };
    if !machines.limits.admit(call.operation, &call.id) {
        return answer_json(429, json!({ "error": "rate limit exceeded" }));
    }
    let operation = call.operation;
    faults.around(operation, carry_out(machines, call, request)).await
}

async fn carry_out(machines: &Arc<Machines>, call: Call, request: Received) -> Response {
    let Call { operation, id } = call;
    let nonce = request.header("fly-machine-lease-nonce");
    let query = |name: &str| request.query_pairs().into_iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let answered = match operation {
        Operation::ListMachines => Ok(machines.list(query("metadata.user").as_deref())),
        Operation::GetMachine => machines.get(&id),
        Operation::CreateMachine => machines.create(&request.json()),
        Operation::Start => machines.start(&id, nonce),
        Operation::Wait => {
            let timeout = query("timeout").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            let state = query("state").unwrap_or_else(|| "started".to_owned());
            machines.wait(&id, &state, timeout.unwrap_or(WAIT_MAX).min(WAIT_MAX)).await
        }
        Operation::Lease if request.method == Method::DELETE => machines.release(&id, nonce),
        Operation::Lease => machines.lease(&id, nonce),
        Operation::DestroyMachine => machines.destroy(&id, nonce, query("force").as_deref() == Some("true")).await,
        Operation::ListVolumes => Ok(machines.list_volumes()),
        Operation::GetVolume => machines.get_volume(&id),
        Operation::CreateVolume => machines.create_volume_slowly(&request.json()).await,
        Operation::DestroyVolume => machines.destroy_volume(&id),
    };
    match answered {
        Ok(Value::Null) => empty(200),
        Ok(body) => answer_json(200, body),
        Err((status, error)) => answer_json(status, json!({ "error": error })),
    }
}
