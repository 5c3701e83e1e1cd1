//! The images that `tests/images/build.sh` built, and containers of them: started by buildah in a chroot, which needs no daemon.
//! A container has this machine's network.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::peers::target_dir;
use crate::process::Process;

/// Debian's package `buildah`.
const BUILDAH: &str = "/usr/bin/buildah";

/// An image of this name in the tests' own store.
#[derive(Clone, Copy, Debug)]
pub struct Image(pub &'static str);

impl Image {
    /// The bytes of what it has beyond the image that its Dockerfile begins with, `base`.
    ///
    /// # Panics
    /// When one of the two is not built.
    pub fn bytes_beside(self, base: Self) -> u64 {
        self.bytes() - base.bytes()
    }

    /// The bytes of all files in it.
    ///
    /// # Panics
    /// When it is not built.
    pub fn bytes(self) -> u64 {
        let container = self.container();
        let mounted = answer(&["mount", &container.id]);
        let counted = Command::new("du").args(["--summarize", "--bytes", mounted.trim()]).output().expect("du runs");
        let counted = String::from_utf8(counted.stdout).expect("du writes text");
        counted.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("du counts bytes")
    }

    /// What it says of how it is to be run.
    ///
    /// # Panics
    /// When it is not built.
    pub fn config(self) -> Value {
        let all: Value = serde_json::from_str(&answer(&["inspect", "--type", "image", self.0])).expect("JSON");
        all["OCIv1"]["config"].clone()
    }

    /// A container of it, which runs nothing yet.
    ///
    /// # Panics
    /// When it is not built.
    pub fn container(self) -> Container {
        Container { id: answer(&["from", "--pull-never", self.0]).trim().to_owned(), image: self }
    }
}

/// A container; gone when dropped.
#[derive(Debug)]
pub struct Container {
    id: String,
    image: Image,
}

impl Container {
    /// Start what the image is there for, with these variables besides its own, and `volumes`: folders of this machine and where
    /// they are in the container.
    ///
    /// # Panics
    /// When buildah does not start.
    pub fn start(&self, vars: &[(&str, &str)], volumes: &[(&Path, &str)]) -> Process {
        let config = self.image.config();
        let entrypoint = config["Entrypoint"].as_array().expect("an entrypoint in exec form");
        let command: Vec<&str> = entrypoint.iter().map(|word| word.as_str().expect("a word")).collect();
        let mut args = self.run_args();
        args.extend(vars.iter().flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]));
        args.extend(volumes.iter().flat_map(|(from, to)| ["--volume".to_owned(), format!("{}:{to}", from.display())]));
        args.extend([self.id.clone(), "--".to_owned()]);
        args.extend(command.into_iter().map(str::to_owned));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Process::start(Path::new(BUILDAH), &args, &[("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")])
    }

    /// What this command writes in the container.
    ///
    /// # Panics
    /// When it fails.
    pub fn output_of(&self, command: &[&str]) -> String {
        let args = self.run_args();
        let mut args: Vec<&str> = args.iter().map(String::as_str).skip(store().len()).collect();
        args.extend([self.id.as_str(), "--"]);
        args.extend(command);
        answer(&args)
    }

    fn run_args(&self) -> Vec<String> {
        let mut args = store().to_vec();
        args.extend(["run", "--isolation", "chroot", "--network", "host"].map(str::to_owned));
        args
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Whatever stays is in the tests' own store, and in nobody's way.
        let _ = buildah(&["rm", &self.id]);
    }
}

fn store() -> [String; 4] {
    let folder = |name: &str| target_dir().join("images").join(name).display().to_string();
    ["--root".to_owned(), folder("store"), "--runroot".to_owned(), folder("run")]
}

fn buildah(args: &[&str]) -> Output {
    assert!(Path::new(BUILDAH).exists(), "{BUILDAH} is missing: run ./dev test deploy, which installs it");
    Command::new(BUILDAH).args(store()).args(args).output().expect("buildah runs")
}

fn answer(args: &[&str]) -> String {
    let output = buildah(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "buildah {args:?}: {said}\nIs it built? tests/images/build.sh builds the images.");
    String::from_utf8(output.stdout).expect("buildah writes text")
}
