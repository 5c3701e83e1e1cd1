//! The images as they are shipped, started with nothing but what they need.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use relay_core::protocol::signature::{self, HEADER};
use relay_core::time::Timestamp;
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use system_tests::images::Image;
use system_tests::process::{Process, descendants_alive};
use system_tests::stack::{SECRET, START_TIMEOUT, free_address};
use system_tests::wait::wait_for;

use super::read;

const RELAY: Image = Image("textslash-relay");
const VM: Image = Image("textslash-vm");
const BASE: Image = Image("docker.io/library/debian:bookworm-slim");
/// What the relay's image may have beside the one that it begins with.
const RELAY_BYTES_MAX: u64 = 40_000_000;
/// Longer than the grace of either.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// The users that the Dockerfiles name.
const RELAY_UID: u32 = 10_001;
const AGENT_UID: &str = "10002";

/// Wait until this is answered with 200, while `process` runs; the answer.
async fn answers(process: &mut Process, url: &str) -> Value {
    wait_for(&format!("an answer from {url}"), START_TIMEOUT, async || {
        assert!(process.is_running(), "it ended:\n{}", process.lines().join("\n"));
        let answer = Client::new().get(url).send().await.map_err(|error| error.to_string())?;
        if answer.status() == 200 { Ok(answer.json().await.expect("JSON")) } else { Err(answer.status().to_string()) }
    })
    .await
}

/// The one process with this program that has `marker` in its environment.
fn process_of(program: &str, marker: &str) -> i32 {
    let alive = descendants_alive(marker);
    let found: Vec<&str> = alive
        .iter()
        .filter_map(|process| process.split_once(' '))
        .filter(|(_, command)| command.split(' ').next() == Some(program))
        .map(|(pid, _)| pid)
        .collect();
    let [pid] = found[..] else { panic!("not one {program} in {alive:?}") };
    pid.parse().expect("a pid")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    Timestamp(since.as_millis().try_into().expect("a time of this age"))
}

/// SIGTERM, as a platform sends it to the first process of a container.
fn tell_to_end(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::TERM).expect("it is there");
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the sizes are to be seen")]
async fn the_relays_image_is_small_serves_as_nobody_and_ends_when_it_is_told_to() {
    let (bytes, base) = (RELAY.bytes_beside(BASE), BASE.bytes());
    println!("the relay's image: {:.1} MB on a base of {:.1} MB", bytes as f64 / 1e6, base as f64 / 1e6);
    assert!(bytes <= RELAY_BYTES_MAX, "{bytes} bytes");
    let config = RELAY.config();
    assert_eq!(config["User"], format!("{RELAY_UID}:{RELAY_UID}"));
    assert_eq!(config["StopSignal"], "SIGTERM");

    let container = RELAY.container();
    let certificates = container.output_of(&["cat", "/etc/ssl/certs/ca-certificates.crt"]);
    assert!(certificates.contains("BEGIN CERTIFICATE"), "nothing could be reached over https");
    let bind = free_address().to_string();
    let vars = [
        ("RELAY_BIND", bind.as_str()),
        ("METRICS_BIND", "127.0.0.1:0"),
        ("RELAY_SECRET", SECRET),
        ("VM_SECRET", SECRET),
        ("VM_URL", "http://127.0.0.1:1"),
        ("STATE_STORE", "sqlite::memory:"),
    ];
    let mut relay = container.start(&vars, &[]);
    assert_eq!(answers(&mut relay, &format!("http://{bind}/health")).await["status"], "ok");
    assert_eq!(answers(&mut relay, &format!("http://{bind}/ready")).await["status"], "ok");
    let pid = process_of("/usr/local/bin/relay", &format!("RELAY_BIND={bind}"));
    assert_eq!(fs::metadata(format!("/proc/{pid}")).expect("it runs").uid(), RELAY_UID);
    tell_to_end(pid);
    let status = relay.exited(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}:\n{}", relay.lines().join("\n"));
}

#[tokio::test]
async fn the_vms_image_serves_on_an_empty_volume_and_gives_the_agent_a_user_of_its_own() {
    let container = VM.container();
    let volume = tempfile::Builder::new().prefix("textslash-volume-").tempdir().expect("a temporary directory");
    fs::set_permissions(volume.path(), PermissionsExt::from_mode(0o755)).expect("as a fresh volume is");
    let bind = free_address().to_string();
    let vars = [
        ("VM_BIND", bind.as_str()),
        ("METRICS_BIND", "127.0.0.1:0"),
        ("VM_SECRET", SECRET),
        ("EVENTS_URL", "http://127.0.0.1:1"),
        ("AGENT_DRIVER", "demo"),
    ];
    let mut vm = container.start(&vars, &[(volume.path(), "/data")]);
    let url = format!("http://{bind}/health");
    assert_eq!(answers(&mut vm, &url).await["status"], "ok");

    let signed = signature::sign(SECRET.as_bytes(), now(), "GET", "/health", b"");
    let health = Client::new().get(&url).header(HEADER, signed).send().await.expect("an answer");
    let health: Value = health.json().await.expect("JSON");
    assert_eq!((&health["driver"], &health["volume_trouble"]), (&"demo".into(), &Value::Null), "{health}");
    let isolation = health["isolation"].as_str().expect("words");
    assert!(isolation.contains(&format!("a user of its own (uid {AGENT_UID})")), "{isolation}");
    assert!(volume.path().join("runs").is_dir(), "its data is on the volume");

    let pid = process_of("/usr/local/bin/vm-agent", &format!("VM_BIND={bind}"));
    tell_to_end(process_of("/usr/bin/tini", &format!("VM_BIND={bind}")));
    let status = vm.exited(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}:\n{}", vm.lines().join("\n"));
    assert!(!fs::exists(format!("/proc/{pid}")).expect("a Linux /proc"), "tini passed the signal on");
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the sizes are to be seen")]
async fn the_agent_finds_its_programs_in_the_vms_image() {
    println!(
        "the VM's image: {:.1} MB on a base of {:.1} MB",
        VM.bytes_beside(BASE) as f64 / 1e6,
        BASE.bytes() as f64 / 1e6
    );
    let container = VM.container();
    // As vm-agent starts an agent: as the agent's user, which may go where everybody may.
    let as_agent = ["setpriv", "--reuid", AGENT_UID, "--regid", AGENT_UID, "--clear-groups", "env", "HOME=/tmp"];
    let output = |command: &[&str]| container.output_of(&[&as_agent, command].concat());
    assert!(output(&["claude", "--version"]).starts_with(&claude_version()), "Claude Code");
    for program in ["git", "chromium", "bwrap"] {
        assert!(!output(&[program, "--version"]).trim().is_empty(), "{program}");
    }
    assert_eq!(output(&["id", "--user"]).trim(), AGENT_UID);
}

#[test]
fn every_place_that_names_a_version_of_claude_code_names_the_same() {
    let version = claude_version();
    assert!(read("dev.d/up").contains(&format!("\nclaude_version={version}\n")), "dev.d/up");
    for lock in ["tests/peers/package-lock.json", "deploy/claude-code/package-lock.json"] {
        let lock: Value = serde_json::from_str(&read(lock)).expect("JSON");
        let package = &lock["packages"]["node_modules/@anthropic-ai/claude-code-linux-x64"];
        assert_eq!(package["version"], version.as_str());
    }
}

/// The version that the tests are made for.
fn claude_version() -> String {
    let package: Value = serde_json::from_str(&read("tests/peers/package.json")).expect("JSON");
    package["dependencies"]["@anthropic-ai/claude-code-linux-x64"].as_str().expect("it is pinned").to_owned()
}

#[test]
fn both_images_are_compiled_in_one_and_the_same_stage() {
    let stage = |path| {
        let text = read(path);
        let start = text.find("FROM rust:").expect("a stage that compiles");
        text[start..].split("\n\n").next().unwrap_or_default().to_owned()
    };
    assert_eq!(stage("Dockerfile.relay"), stage("Dockerfile.vm"));
}
