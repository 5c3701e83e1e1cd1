//! Where the programs and specifications by others are: `tests/peers/install.sh` puts them under `target/peers`. A test
//! that needs one which is not there fails; it never skips.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

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

/// The description of GitHub's REST API, as JSON, by GitHub itself.
///
/// # Panics
/// When it is not installed.
pub fn octokit_openapi() -> PathBuf {
    installed("node/node_modules/@octokit/openapi/generated/api.github.com.json")
}

/// A Python that can import Twilio's own library.
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

fn installed(path: &str) -> PathBuf {
    let path = target_dir().join("peers").join(path);
    assert!(path.exists(), "{} is missing: run ./dev test, which installs it", path.display());
    path
}
