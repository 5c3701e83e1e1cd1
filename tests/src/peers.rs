//! Where the programs and specifications by others are: `tests/peers/install.sh` puts them under `target/peers`. A test
//! that needs one which is not there fails; it never skips.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::process::Process;
use crate::wait::wait_until;

/// Node takes a while on a busy machine.
const START_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// The repository's `target` directory, where tests may leave what a person wants to look at.
pub fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").join("target")
}

/// The real Claude Code CLI.
///
/// # Panics
/// When it is not installed.
pub fn claude_path() -> PathBuf {
    installed("node/node_modules/@anthropic-ai/claude-code-linux-x64/claude")
}

/// The real opencode, an agent that speaks the Agent Client Protocol; the build that needs no more of a processor than every
/// x86-64 has.
///
/// # Panics
/// When it is not installed.
pub fn opencode_path() -> PathBuf {
    installed("node/node_modules/opencode-linux-x64-baseline/bin/opencode")
}

/// The description of GitHub's REST API, as JSON, by GitHub itself.
///
/// # Panics
/// When it is not installed.
pub fn octokit_openapi() -> PathBuf {
    installed("node/node_modules/@octokit/openapi/generated/api.github.com.json")
}

/// axe-core, a script that finds what in a page hinders people.
///
/// # Panics
/// When it is not installed.
pub fn axe() -> String {
    let path = installed("node/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(path).expect("a script")
}

/// A program of a Debian package that is only unpacked: installed it would start a server.
///
/// # Panics
/// When it is not there.
pub fn debian(name: &str) -> PathBuf {
    installed(&format!("debian/usr/bin/{name}"))
}

/// A Python that can import Twilio's own library, and Grafana's.
///
/// # Panics
/// When the library is not installed.
pub fn python() -> Command {
    let root = installed("python");
    let in_venv = root.join("bin/python");
    if in_venv.exists() {
        return Command::new(in_venv);
    }
    installed("python/twilio");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", root);
    command
}

/// One webhook to be signed by Twilio's own library.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SigningCase {
    /// The auth token.
    pub token: String,
    /// The URL as Twilio was told it.
    pub url: String,
    /// Form parameters, decoded, in the order sent.
    pub params: Vec<(String, String)>,
}

/// The `X-Twilio-Signature` that Twilio's own library gives each case.
///
/// # Panics
/// When the library is missing or does not answer with one signature for each case.
pub async fn signatures_by_twilio(cases: &[SigningCase]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/sign.py");
    let mut child = python()
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starting Python");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(&serde_json::to_vec(cases).expect("cases are JSON")).await.expect("sign.py reads its cases");
    drop(stdin);
    let output = child.wait_with_output().await.expect("sign.py ends");
    assert!(output.status.success(), "sign.py failed: {}", output.status);
    let signatures: Value = serde_json::from_slice(&output.stdout).expect("sign.py prints JSON");
    let signatures: Vec<String> = serde_json::from_value(signatures).expect("sign.py prints a list of texts");
    assert_eq!(signatures.len(), cases.len(), "one signature for each case");
    signatures
}

/// What Twilio's own client library says of a stand-in at `base` (`peers/client.py`).
///
/// # Panics
/// When the library is missing or the script fails.
pub async fn client_by_twilio(base: &str, account: &str, token: &str) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/client.py");
    let output = python().arg(script).args([base, account, token]).output().await.expect("starting Python");
    assert!(output.status.success(), "client.py failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("client.py prints JSON")
}

/// Vercel's emulator of Twilio, with the account and number in `seed`, until dropped.
///
/// # Panics
/// When it is not installed or does not start.
pub async fn emulate(port: u16, seed: &Path) -> Process {
    let (port, seed) = (port.to_string(), seed.display().to_string());
    let args = ["start", "--service", "twilio", "--port", &port, "--seed", &seed];
    start("emulate", &args, &format!("http://127.0.0.1:{port}/")).await
}

/// Prism as a proxy that holds requests and answers against Twilio's own API description, and answers what does not fit by
/// itself. Until dropped.
///
/// # Panics
/// When it is not installed or does not start.
pub async fn prism_before(port: u16, upstream: &str) -> Process {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/twilio/messages_openapi.json");
    let (port, spec) = (port.to_string(), spec.display().to_string());
    let args = ["proxy", "--errors", "--host", "127.0.0.1", "--port", &port, &spec, upstream];
    start("prism", &args, &format!("http://127.0.0.1:{port}/")).await
}

async fn start(name: &str, args: &[&str], url: &str) -> Process {
    let program = installed(&format!("node/node_modules/.bin/{name}"));
    let path = std::env::var("PATH").expect("a PATH");
    let process = Process::start(&program, args, &[("PATH", &path), ("HOME", "/tmp")]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    wait_until(&format!("{name} to answer"), START_TIMEOUT, async || client.get(url).send().await.is_ok()).await;
    process
}

fn installed(path: &str) -> PathBuf {
    let path = target_dir().join("peers").join(path);
    assert!(path.exists(), "{} is missing: run ./dev test, which installs it", path.display());
    path
}
