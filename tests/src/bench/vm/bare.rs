//! The Claude Code CLI alone, as one would run it by hand: no proxy, no sandbox, no tools of ours.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::fake_anthropic::FakeAnthropic;
use crate::peers::claude_path;
use crate::stack::{git, sample_origin};

const ARGUMENTS: &str =
    "-p --input-format stream-json --output-format stream-json --verbose --permission-mode bypassPermissions";

/// A clone and a home to run it in.
#[derive(Debug)]
pub(super) struct Bare {
    folder: TempDir,
    api_url: String,
}

impl Bare {
    pub(super) fn prepare(api: &FakeAnthropic) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let origin = folder.path().join("origin.git");
        sample_origin(&origin);
        git(folder.path(), &["clone", "--quiet", &origin.display().to_string(), "tree"]);
        Ok(Self { folder, api_url: api.url() })
    }

    /// From the start of the program to its end.
    pub(super) async fn turn(&self, prompt: &str) -> anyhow::Result<Duration> {
        let message =
            json!({"type": "user", "message": {"role": "user", "content": [{"type": "text", "text": prompt}]}});
        let began = Instant::now();
        let mut program = self.command(self.folder.path()).spawn()?;
        if let Some(mut stdin) = program.stdin.take() {
            stdin.write_all(format!("{message}\n").as_bytes()).await?;
        }
        let output = program.wait_with_output().await?;
        let took = began.elapsed();
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && said.contains("\"type\":\"result\""), "the bare CLI failed: {said}");
        Ok(took)
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(claude_path());
        command.args(ARGUMENTS.split_whitespace()).current_dir(folder.join("tree")).env_clear();
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", folder)
            .env("CLAUDE_CONFIG_DIR", folder.join(".claude"))
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("ANTHROPIC_BASE_URL", &self.api_url)
            .env("ANTHROPIC_AUTH_TOKEN", "none")
            // For root, which it refuses to be otherwise.
            .env("IS_SANDBOX", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }
}
