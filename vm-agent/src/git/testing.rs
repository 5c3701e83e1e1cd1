//! A repository to test on: a bare origin, and a clone of it on a volume of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use relay_core::id::RunId;

use crate::repositories::{Repositories, Repository, UrlTrust};

/// What the origin holds at first.
pub(crate) const SEED: &[(&str, &str)] = &[
    ("README.md", "# Sample\n"),
    ("src/main.rs", "fn main() {}\n"),
    ("src/lib.rs", "pub fn one() -> u32 {\n    1\n}\n"),
    (".gitignore", "target/\n*.log\n"),
    ("docs/a.txt", "a\r\nwindows\r\n"),
];

/// The volume and what lies on it; gone when dropped.
pub(crate) struct Volume {
    directory: tempfile::TempDir,
    pub(crate) repositories: Repositories,
}

impl Volume {
    /// A volume with a bare origin beside it, and no clone yet.
    pub(crate) fn with_origin() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let seed = directory.path().join("seed");
        fs::create_dir(&seed)?;
        git(&seed, &["init", "-q", "-b", "main"])?;
        for (path, text) in SEED {
            write(&seed, path, text)?;
        }
        git(&seed, &["add", "-A"])?;
        git(&seed, &["commit", "-q", "-m", "first"])?;
        git(directory.path(), &["clone", "-q", "--bare", "seed", "origin.git"])?;
        let repositories = Repositories::new(directory.path().join("data"), None, None);
        Ok(Self { directory, repositories })
    }

    /// A volume with a clone of its origin.
    pub(crate) async fn with_clone() -> anyhow::Result<(Self, Repository)> {
        let volume = Self::with_origin()?;
        let repository = volume.repositories.clone_url(&volume.origin_url(), UrlTrust::Operator).await?;
        Ok((volume, repository))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn origin_url(&self) -> String {
        self.path("origin.git").display().to_string()
    }

    /// The output of git in the bare origin.
    pub(crate) fn origin(&self, args: &[&str]) -> anyhow::Result<String> {
        git(&self.path("origin.git"), args)
    }

    /// Commit another state to a branch of the origin.
    pub(crate) fn commit_at_origin(&self, branch: &str, path: &str, text: &str) -> anyhow::Result<()> {
        let seed = self.path("seed");
        git(&seed, &["checkout", "-q", "-B", branch])?;
        write(&seed, path, text)?;
        git(&seed, &["add", "-A"])?;
        git(&seed, &["commit", "-q", "-m", "more"])?;
        git(&seed, &["push", "-q", "../origin.git", branch])?;
        Ok(())
    }
}

/// A run's name.
pub(crate) fn run(number: u32) -> anyhow::Result<RunId> {
    Ok(RunId::parse(format!("0123abcd-{number}"))?)
}

/// Write a file and what is missing above it.
pub(crate) fn write(root: &Path, path: &str, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let path = root.join(path);
    fs::create_dir_all(path.parent().context("a path with a parent")?)?;
    Ok(fs::write(path, text)?)
}

/// Git as anyone would run it: with hooks, filters and the configuration of the directory.
pub(crate) fn git(directory: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(args)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|role| (format!("GIT_{role}_NAME"), "Someone")))
        .envs(["AUTHOR", "COMMITTER"].map(|role| (format!("GIT_{role}_EMAIL"), "someone@example.org")))
        .output()?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What was found at each path: kind, permission bits, and content or target.
pub(crate) type Contents = BTreeMap<PathBuf, (char, u32, Vec<u8>)>;

/// Everything below `root` but its own `.git`. Independent of the code under test.
pub(crate) fn contents(root: &Path) -> anyhow::Result<Contents> {
    let mut found = Contents::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for item in fs::read_dir(directory)? {
            let path = item?.path();
            let relative = path.strip_prefix(root)?.to_owned();
            if relative == Path::new(".git") {
                continue;
            }
            let metadata = fs::symlink_metadata(&path)?;
            let mode = metadata.permissions().mode() & 0o7777;
            let entry = if metadata.is_symlink() {
                ('l', 0, fs::read_link(&path)?.as_os_str().as_bytes().to_vec())
            } else if metadata.is_dir() {
                directories.push(path);
                ('d', mode, Vec::new())
            } else if metadata.is_file() {
                ('f', mode, fs::read(&path)?)
            } else {
                ('s', 0, Vec::new())
            };
            found.insert(relative, entry);
        }
    }
    Ok(found)
}
