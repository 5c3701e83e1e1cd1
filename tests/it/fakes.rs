//! The fakes and the harness, each shown to be honest: what the other tests conclude rests on these.

mod anthropic;
mod browser;
mod fake_vm;
mod fleet;
mod github;
mod haproxy;
mod process;
mod redis;
mod twilio;

use std::time::Duration;

/// Far above what anything here takes on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// A client that ignores proxies of the environment and does not hold on for ever.
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(BOUND)
        .user_agent("system-tests")
        .build()
        .expect("a client without special settings")
}
