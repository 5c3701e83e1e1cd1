//! A machine on Fly.io for each person: made once, found again, woken, lost, destroyed. At a fake of Fly.io.

use std::time::Duration;

use system_tests::fake_fly::{FakeFly, TOKEN};
use system_tests::fleet::Fleet;
use system_tests::process::binary;
use system_tests::stack::SECRET;
use tokio::process::Command;
use tokio::time::timeout;

mod forgotten;
mod making;
mod people;
mod troubles;

/// A relay's lease runs out, and the right to make a volume; a machine starts.
const BOUND: Duration = Duration::from_secs(90);
/// A machine needs a moment.
const BOOT: Duration = Duration::from_millis(300);

/// `relay admin`, beside this fleet: how it ended, and what it wrote.
async fn admin(fleet: &Fleet, fly: &FakeFly, args: &[&str]) -> (bool, String) {
    let mut vars = fly.settings();
    vars.push(("STATE_STORE".to_owned(), fleet.redis.url()));
    vars.push(("RELAY_SECRET".to_owned(), SECRET.to_owned()));
    let command =
        Command::new(binary("relay")).arg("admin").args(args).env_clear().envs(vars).kill_on_drop(true).output();
    let output = timeout(BOUND, command).await.expect("an end in time").expect("the program starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

/// Neither the token nor a machine's secret is in what the relays have logged.
fn logs_hold_no_secret(fleet: &Fleet, fly: &FakeFly) {
    let logs = fleet.logs();
    assert!(logs.contains("made a machine"), "{logs}");
    assert!(!logs.contains(TOKEN) && !logs.contains(SECRET));
    for machine in fly.machines() {
        assert!(!logs.contains(&machine.env["VM_SECRET"]));
    }
}
