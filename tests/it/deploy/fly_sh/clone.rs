//! A clone of the repository as somebody has it who has just heard of it, with the stand-in for flyctl on its path.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use system_tests::fake_flyctl::state::State;
use system_tests::fake_flyctl::{FAILS, FOLDER, calls_path, state_path};
use tempfile::TempDir;

/// What Twilio's console says.
pub(super) const TWILIO: [(&str, &str); 4] = [
    ("TWILIO_ACCOUNT_SID", "ACa5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"),
    ("TWILIO_AUTH_TOKEN", "0123456789abcdef0123456789abcdef"),
    ("TWILIO_FROM", "whatsapp:+14155238886"),
    ("ALLOWED_PHONE_NUMBERS", "+15551230000,+15551230001"),
];

/// The folder of it all: the clone, what stands in for programs, the state at Fly.
#[derive(Debug)]
pub(super) struct Clone {
    folder: TempDir,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) is_well: bool,
    pub(super) code: i32,
    /// Both of its outputs.
    pub(super) told: String,
}

impl Clone {
    pub(super) fn new() -> Self {
        let clone = Self { folder: TempDir::new().expect("a folder") };
        let (deploy, programs) = (clone.path("clone/deploy"), clone.path("programs"));
        fs::create_dir_all(deploy.join("fly.d")).expect("a folder");
        fs::create_dir_all(&programs).expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        fs::copy(source.join("fly.sh"), deploy.join("fly.sh")).expect("the script");
        for part in fs::read_dir(source.join("fly.d")).expect("its parts").filter_map(Result::ok) {
            fs::copy(part.path(), deploy.join("fly.d").join(part.file_name())).expect("a part");
        }
        // All that the stand-in heeds of them.
        fs::write(deploy.join("fly.vm.toml"), "[[mounts]]\nsource = \"data\"\n").expect("a file");
        fs::write(deploy.join("fly.relay.toml"), "[http_service]\n").expect("a file");
        fs::write(clone.path("clone/.gitignore"), "/deploy/.fly.env\n").expect("a file");
        for name in ["flyctl", "curl"] {
            symlink(env!("CARGO_BIN_EXE_fake_flyctl"), programs.join(name)).expect("a link");
        }
        clone.git(&["init", "--quiet"]);
        clone.commit("all of it");
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path("clone")).args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]);
        let output = command.args(arguments).output().expect("git is installed");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// All that was changed, and something that is new. Always at the same time, so that equal clones have equal commits.
    pub(super) fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        let date = "--date=2026-01-01T00:00:00Z";
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path("clone")).env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z");
        command.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]);
        let status = command.args(["commit", "--quiet", "--allow-empty", date, "--message", message]).status();
        assert!(status.expect("git is installed").success());
    }

    /// From now on the script finds that it is run by a bash of this version. What bash says of itself can't be changed.
    pub(super) fn pretend_bash(&self, version: (u32, u32)) {
        let path = self.path("clone/deploy/fly.sh");
        let script = fs::read_to_string(&path).expect("the script").replace("BASH_VERSINFO", "PRETENDED");
        fs::write(path, format!("PRETENDED=({} {})\n{script}", version.0, version.1)).expect("a file");
    }

    /// `deploy/fly.sh`, with nothing in its environment but what is given, and this as what is typed.
    pub(super) fn run(&self, arguments: &[&str], given: &[(&str, &str)], typed: &str) -> Outcome {
        self.run_with(arguments, given, typed, "")
    }

    /// The same with a call that fails: `7:undone`, or `7:done` when it is carried out all the same.
    pub(super) fn run_failing(&self, arguments: &[&str], given: &[(&str, &str)], failure: &str) -> Outcome {
        self.run_with(arguments, given, "", failure)
    }

    fn run_with(&self, arguments: &[&str], given: &[(&str, &str)], typed: &str, failure: &str) -> Outcome {
        fs::write(calls_path(self.folder.path()), "").expect("a file");
        let mut path = OsString::from(self.path("programs"));
        path.push(":/usr/local/bin:/usr/bin:/bin");
        let mut command = Command::new("bash");
        command.arg(self.path("clone/deploy/fly.sh")).args(arguments).env_clear().env("PATH", path);
        command.env(FOLDER, self.folder.path()).env("LANG", "C.UTF-8").envs(given.iter().copied());
        if !failure.is_empty() {
            command.env(FAILS, failure);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("bash is installed");
        // Whoever does not read it has ended already.
        drop(child.stdin.take().expect("its input").write_all(typed.as_bytes()));
        let output = child.wait_with_output().expect("its outputs");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8(told).expect("it tells text");
        Outcome { is_well: output.status.success(), code: output.status.code().unwrap_or(-1), told }
    }

    /// The calls of the latest run; the label of this clone has a name of its own.
    pub(super) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(calls_path(self.folder.path())).expect("the calls");
        let label = self.git(&["rev-parse", "--short=12", "HEAD"]);
        calls.lines().map(|call| call.replace(&label, "LABEL")).collect()
    }

    pub(super) fn state(&self) -> State {
        State::load(&state_path(self.folder.path())).expect("the state")
    }

    pub(super) fn set_state(&self, state: &State) {
        state.save(&state_path(self.folder.path())).expect("the state is kept");
    }
}

/// Whether these are the lines of a file beside this one. If not, what is different is shown, and where the new ones are.
pub(super) fn matches_snapshot(name: &str, lines: &[String]) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/deploy/fly_sh").join(name);
    let text = format!("{}\n", lines.join("\n"));
    if fs::read_to_string(&kept).is_ok_and(|kept| kept == text) {
        return;
    }
    let now = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&now, text).expect("a file");
    let diff = Command::new("diff").arg("-uN").args([&kept, &now]).output().expect("diff is installed");
    panic!(
        "not as in {}; if it should be so, copy {} there\n{}",
        kept.display(),
        now.display(),
        String::from_utf8_lossy(&diff.stdout)
    );
}
