//! Relays are replaced one after the other behind the proxy that compose starts, with its own configuration.

use system_tests::fleet::FleetPlan;
use system_tests::haproxy::Balance;

use crate::redis::rolling::restart_all;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_the_deployed_proxy_refuses_and_loses_nothing() {
    restart_all(FleetPlan { relays: 2, balance: Balance::AsDeployed, ..FleetPlan::default() }).await;
}
