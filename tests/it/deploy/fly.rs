//! What Fly.io is told. Nothing here asks Fly: what its documentation and flyctl's source say is taken for granted.

use std::collections::BTreeSet;
use std::process::Command;

use system_tests::dashboards::documented;

use super::fly_toml::{AutoStop, FlyToml, Strategy};
use super::{is_secret, read, repository, settings_of};

const RELAY: &str = "deploy/fly.relay.toml";
const VM: &str = "deploy/fly.vm.toml";
/// Where each program tells what it has counted, unless told otherwise.
const RELAY_METRICS_PORT: u16 = 9091;
const VM_METRICS_PORT: u16 = 9092;

fn parse(path: &str) -> FlyToml {
    toml::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn port_of(bind: &str) -> u16 {
    bind.parse::<std::net::SocketAddr>().unwrap_or_else(|error| panic!("{bind}: {error}")).port()
}

/// `http://APP.flycast[:PORT]`, taken apart.
fn private_address(url: &str) -> (&str, u16) {
    let host = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url}: a private address speaks plain HTTP"));
    let (name, port) = host.split_once(':').map_or((host, 80), |(name, port)| (name, port.parse().expect("a port")));
    (name.strip_suffix(".flycast").unwrap_or_else(|| panic!("{url} does not wake anybody")), port)
}

#[test]
fn every_variable_is_one_that_the_program_reads_and_none_is_a_secret() {
    for (path, program) in [(RELAY, "relay"), (VM, "vm-agent")] {
        let names: BTreeSet<String> = parse(path).env.into_keys().collect();
        let known = settings_of(program);
        let unknown: Vec<&String> = names.difference(&known).collect();
        assert!(unknown.is_empty(), "{path} sets {unknown:?}, which nobody reads");
        let secrets: Vec<&String> = names.iter().filter(|name| is_secret(name)).collect();
        assert!(secrets.is_empty(), "{path} holds {secrets:?}");
        let reserved: Vec<&String> = names.iter().filter(|name| name.starts_with("FLY_")).collect();
        assert!(reserved.is_empty(), "{path}: {reserved:?} are Fly's own");
    }
    let address = &parse(VM).env["EVENTS_URL"];
    assert!(!address.contains('@'), "an address of Redis holds a password");
}

#[test]
fn fly_stops_no_machine_and_starts_one_that_is_called() {
    for path in [RELAY, VM] {
        for service in parse(path).all_services() {
            assert_eq!(service.auto_stop_machines, AutoStop::Off, "{path}");
            assert!(service.auto_start_machines, "{path}");
        }
    }
    let idle: u64 = parse(VM).env["IDLE_TIMEOUT_MS"].parse().expect("a number");
    assert!(idle > 0, "nobody stops the VM but itself");
    assert_eq!(parse(VM).restart[0].policy, "on-failure", "a VM that ended by itself stays stopped");
    assert_eq!(parse(RELAY).restart[0].policy, "always");
}

#[test]
fn the_vm_has_no_service_but_for_its_private_address() {
    let vm = parse(VM);
    assert!(vm.http_service.is_none(), "it would listen for the world, with TLS");
    let ports: Vec<(u16, &[String])> =
        vm.services.iter().flat_map(|service| &service.ports).map(|port| (port.port, &port.handlers[..])).collect();
    assert_eq!(ports, [(80, &["http".to_owned()][..])]);
}

#[test]
fn relay_and_vm_find_each_other_where_nothing_redirects() {
    let (relay, vm) = (parse(RELAY), parse(VM));
    let (app, port) = private_address(&relay.env["VM_URL"]);
    assert!(app == vm.app && vm.speaks_http_at(port), "VM_URL leads to {app}, port {port}");
    let (app, port) = private_address(&vm.env["EVENTS_URL"]);
    assert!(app == relay.app && relay.speaks_http_at(port), "EVENTS_URL leads to {app}, port {port}");
    assert!(!relay.speaks_http_at(80), "the world is sent to https");
    // By this the relay tells what the world calls from what is for the VM, in clear text, and has no sign-in in it.
    assert_eq!(relay.env["PUBLIC_URL"], format!("https://{}.fly.dev", relay.app));
    let clear: Vec<u16> = relay.services.iter().flat_map(|service| &service.ports).map(|port| port.port).collect();
    assert_eq!(clear, [port], "each port in clear text is the VM's");
}

#[test]
fn services_lead_to_where_the_programs_listen_and_are_checked_there() {
    for (path, bind) in [(RELAY, "RELAY_BIND"), (VM, "VM_BIND")] {
        let file = parse(path);
        let listens = port_of(&file.env[bind]);
        for service in file.all_services() {
            assert_eq!(service.internal_port, listens, "{path}");
            let paths: Vec<&str> = service.route_checks().map(|check| check.path.as_str()).collect();
            assert_eq!(paths, ["/health"], "{path}");
            assert_eq!(service.concurrency.kind, "requests", "{path}");
            assert!(service.concurrency.soft_limit < service.concurrency.hard_limit, "{path}");
        }
        assert!(file.checks.is_empty(), "{path}: checks of no service take no machine out of rotation");
    }
}

#[test]
fn a_machine_is_told_to_end_and_given_the_time_for_it() {
    for path in [RELAY, VM] {
        let file = parse(path);
        assert_eq!(file.kill_signal, "SIGTERM", "{path}");
        let seconds: u64 = file.kill_timeout.strip_suffix('s').and_then(|s| s.parse().ok()).expect("seconds");
        let grace_ms: u64 = file.env["SHUTDOWN_GRACE_MS"].parse().expect("a number");
        assert!(seconds * 1000 > grace_ms && seconds <= 300, "{path}: {seconds} s for a grace of {grace_ms} ms");
        assert_eq!((file.deploy.strategy, file.deploy.max_unavailable), (Strategy::Rolling, 1), "{path}");
    }
}

#[test]
fn what_is_counted_is_scraped_at_a_port_that_is_no_service() {
    for (path, port) in [(RELAY, RELAY_METRICS_PORT), (VM, VM_METRICS_PORT)] {
        let file = parse(path);
        let scraped: Vec<(u16, &str)> = file.metrics.iter().map(|at| (at.port, at.path.as_str())).collect();
        assert_eq!(scraped, [(port, "/metrics")], "{path}");
        assert_eq!(file.env["METRICS_BIND"], format!("[::]:{port}"), "{path}");
        assert!(file.all_services().all(|service| service.internal_port != port), "{path}");
    }
}

#[test]
fn the_vms_volume_is_where_its_data_is_and_a_relay_has_none() {
    let vm = parse(VM);
    let mounted: Vec<&str> = vm.mounts.iter().map(|mount| mount.destination.as_str()).collect();
    assert_eq!(mounted, [vm.env["DATA_DIR"].as_str()]);
    assert!(parse(RELAY).mounts.is_empty());
}

#[test]
fn each_app_is_built_from_its_dockerfile() {
    for (path, dockerfile) in [(RELAY, "Dockerfile.relay"), (VM, "Dockerfile.vm")] {
        let file = parse(path);
        assert_eq!(file.build.dockerfile, format!("../{dockerfile}"), "flyctl looks from where the file is");
        assert!(repository(dockerfile).is_file());
        assert_eq!((file.vm.len(), file.primary_region.len()), (1, 3), "{path}");
    }
}

/// Every metric, so also what rules and dashboards come to ask for.
#[test]
fn a_prometheus_of_ones_own_fetches_from_fly_all_that_is_told() {
    const CONFIG: &str = "deploy/prometheus/fly.yml";
    // Its token is not here.
    let args = ["check", "config", "--syntax-only", CONFIG];
    let check = Command::new("promtool").args(args).current_dir(repository("")).output();
    let check = check.expect("promtool is installed");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let config = read(CONFIG);
    let asked = config.split("__name__=~\"").nth(1).and_then(|rest| rest.split('"').next()).expect("names are chosen");
    let is_asked = |name: &String| {
        asked.split('|').any(|asked| asked.strip_suffix(".+").map_or(asked == name, |begins| name.starts_with(begins)))
    };
    let dropped: Vec<String> = documented().into_keys().filter(|name| !is_asked(name)).collect();
    assert_eq!(dropped, Vec::<String>::new());
}
