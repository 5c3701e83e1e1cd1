//! `deploy/compose.yaml` and all that it mounts, judged by the programs that they are for.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use system_tests::peers::{python, target_dir};
use system_tests::process::{Process, binary};
use system_tests::stack::{START_TIMEOUT, free_address};

use super::{read, repository, settings_of};

const COMPOSE: &str = "deploy/compose.yaml";
const EXAMPLE: &str = "deploy/env.example";
const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

/// Settings that compose passes on to nobody, and why not.
const NOT_PASSED: [(&str, &[&str]); 5] = [
    ("the other services find it there", &["RELAY_BIND", "VM_BIND", "RELAY_NAMESPACE"]),
    (
        "is about machines at Fly.io",
        &[
            "FLY_API_TOKEN",
            "FLY_MACHINE_ID",
            "VM_API_URL",
            "VM_APP",
            "VM_DIRECTORY",
            "VM_EVENTS_URL",
            "VM_IMAGE",
            "VM_MEMORY_MB",
            "VM_REGION",
            "VM_SIZE",
            "VM_VOLUME_GB",
        ],
    ),
    (
        "is the image's own",
        &["AGENT_GID", "AGENT_UID", "CHROMIUM_PATH", "CLAUDE_PATH", "DATA_DIR", "IMAGES_DIR", "PATH"],
    ),
    ("must be shorter than stop_grace_period", &["SHUTDOWN_GRACE_MS"]),
    ("a VM that ends when it is idle would be started again at once", &["IDLE_TIMEOUT_MS"]),
];

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|written| String::from_utf8_lossy(written)).concat()
}

fn assert_content(program: &str, output: &Output) {
    assert!(output.status.success(), "{program}: {}", text(output));
}

fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Output {
    let program = program.as_ref();
    let output = Command::new(program).args(args).current_dir(repository("")).output();
    output.unwrap_or_else(|error| panic!("{}: {error}; ./dev test deploy installs it", program.display()))
}

fn compose(env_file: &Path, args: &[&str]) -> Output {
    let env_file = env_file.to_string_lossy();
    let common = ["--env-file", &env_file, "--file", COMPOSE, "--profile", "observability", "config"];
    run(target_dir().join("images/docker-compose"), &[&common, args].concat())
}

/// Everything that compose makes of the file, with the example's settings filled in.
fn resolved() -> Value {
    let filled = tempfile::NamedTempFile::new().expect("a temporary file");
    let fill = |line: &str| if line.ends_with('=') { format!("{line}{PASSWORD}\n") } else { format!("{line}\n") };
    std::fs::write(filled.path(), read(EXAMPLE).lines().map(fill).collect::<String>()).expect("a file is written");
    let output = compose(filled.path(), &["--format", "json"]);
    assert_content("docker-compose", &output);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().expect("an object").keys().cloned().collect()
}

#[tokio::test]
async fn the_compose_file_is_one_and_a_secret_that_is_missing_is_told() {
    let schema = python()
        .args(["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE])
        .current_dir(repository(""))
        .output()
        .await
        .expect("Python runs");
    assert_content("check-jsonschema", &schema);
    let services = resolved()["services"].clone();
    // What is in the images is for that processor alone, so an ARM machine has to emulate it.
    let built: Vec<_> =
        services.as_object().into_iter().flatten().filter(|(_, it)| it.get("build").is_some()).collect();
    assert_eq!(built.len(), 3, "two relays and a VM");
    assert!(built.iter().all(|(_, service)| service["platform"] == "linux/amd64"), "{built:?}");
    let expected = ["edge", "grafana", "prometheus", "redis", "relay-a", "relay-b", "vm-agent"];
    assert_eq!(names(&services), expected.map(str::to_owned).into());
    let empty = compose(&repository(EXAMPLE), &["--quiet"]);
    assert!(!empty.status.success() && text(&empty).contains("is missing, see env.example"), "{}", text(&empty));
}

#[test]
fn relays_and_vm_are_given_every_setting_that_they_read_and_the_example_has_all_of_them() {
    let services = resolved()["services"].clone();
    let not_passed: BTreeSet<String> =
        NOT_PASSED.iter().flat_map(|(_, names)| *names).map(|name| (*name).to_owned()).collect();
    let mut unread = not_passed.clone();
    for (service, program) in [("relay-a", "relay"), ("relay-b", "relay"), ("vm-agent", "vm-agent")] {
        let set = names(&services[service]["environment"]);
        let known = settings_of(program);
        let unknown: Vec<&String> = set.difference(&known).collect();
        assert!(unknown.is_empty(), "{service}: {unknown:?}");
        let dropped: Vec<&String> = known.difference(&set).filter(|name| !not_passed.contains(*name)).collect();
        assert!(dropped.is_empty(), "{service} is never told of {dropped:?}");
        let passed: Vec<&String> = set.intersection(&not_passed).collect();
        assert!(passed.is_empty(), "{service} is told of {passed:?} after all");
        unread.retain(|name| !known.contains(name));
    }
    assert!(unread.is_empty(), "nobody reads {unread:?}");
    assert_eq!(services["relay-a"]["environment"], services["relay-b"]["environment"], "relays are equal");
    let file = read(COMPOSE);
    let asked: BTreeSet<&str> = file.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()).collect();
    let example = read(EXAMPLE);
    let given: BTreeSet<&str> = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert_eq!(asked, given);
}

#[test]
fn nothing_but_the_edge_and_the_observers_is_reached_from_outside_and_those_from_this_machine_alone() {
    let services = resolved()["services"].clone();
    let mut published = Vec::new();
    for (name, service) in services.as_object().expect("an object") {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}");
            published.push(name.as_str());
        }
    }
    assert_eq!(published, ["edge", "grafana", "prometheus"]);
}

#[test]
fn what_is_mounted_is_there_and_its_programs_take_it() {
    let services = resolved()["services"].clone();
    let volumes = services.as_object().into_iter().flatten().flat_map(|(_, service)| service["volumes"].as_array());
    for bound in volumes.flatten().filter(|volume| volume["type"] == "bind") {
        let source = Path::new(bound["source"].as_str().expect("a path"));
        // The dashboards' folder may be empty, and git keeps no empty folder.
        assert!(source.exists() || source.ends_with("grafana/dashboards"), "{} is mounted", source.display());
        assert_eq!(bound["read_only"], true, "{}", source.display());
    }
    assert_content("haproxy", &run("/usr/sbin/haproxy", &["-c", "-f", "deploy/haproxy.cfg"]));
    assert_content("promtool", &run("promtool", &["check", "config", "deploy/prometheus/prometheus.yml"]));
}

#[test]
fn the_dockerfiles_are_clean() {
    let hadolint = target_dir().join("peers/python/bin/hadolint");
    assert_content("hadolint", &run(hadolint, &["Dockerfile.relay", "Dockerfile.vm"]));
}

/// `relay admin check` says so itself.
#[tokio::test]
async fn redis_is_started_as_a_relay_wants_it_and_lets_nobody_in_without_a_password() {
    let folder = tempfile::Builder::new().prefix("textslash-redis-").tempdir().expect("a temporary directory");
    let (address, rules) = (free_address(), folder.path().join("users.acl"));
    let (port, rules, data) = (address.port().to_string(), rules.to_string_lossy(), folder.path().to_string_lossy());
    let vars =
        [("PATH", "/usr/bin:/bin"), ("ACL_FILE", &*rules), ("RELAY_PASSWORD", PASSWORD), ("VM_PASSWORD", "another")];
    let args = ["--bind", "127.0.0.1", "--port", &port, "--dir", &*data];
    let mut redis = Process::start(&repository("deploy/redis/start.sh"), &args, &vars);
    redis.wait_for_line("Ready to accept connections", START_TIMEOUT).await;

    let store = format!("redis://relay:{PASSWORD}@{address}");
    let check = Command::new(binary("relay")).args(["admin", "check"]).env("STATE_STORE", store).output();
    assert_content("relay admin check", &check.expect("the relay runs"));
    for (user, may_enter) in [("", false), ("relay:wrong@", false), ("vm:another@", true)] {
        let client = redis::Client::open(format!("redis://{user}{address}")).expect("an address");
        let mut asked = match client.get_multiplexed_async_connection().await {
            Ok(connection) => connection,
            Err(_) if !may_enter => continue,
            Err(error) => panic!("{user}: {error}"),
        };
        let pong: Result<String, _> = redis::cmd("PING").query_async(&mut asked).await;
        assert_eq!(pong.is_ok(), may_enter, "{user}: {pong:?}");
    }
}
