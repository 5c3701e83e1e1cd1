//! The demo agent: no model, no key, the same every time. It is for trying the product out and for testing everything
//! around an agent, so it works as an agent does: a real process under a supervisor edits real files and reports in lines.
//! Every answer says that no model is involved.
//!
//! What it does is chosen by words in the prompt, the first that is found:
//!
//! | word       | what happens |
//! |------------|--------------|
//! | `question` | changes nothing and answers |
//! | `fail`     | edits as below, then fails |
//! | `slow`     | edits as below, then works on for a minute with a background process beside it, a line every two seconds |
//! | `picture`  | edits as below and sends a picture |
//! | otherwise  | edits and is done within a second |
//!
//! Editing: the first word of the prompt that names a file (`hello.txt`, `docs/notes.md`) is the file, else `NOTES.md`; a
//! line with the beginning of the prompt is appended to it. Files that came with the prompt are copied into the worktree.

use std::ffi::OsString;
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::ChildStdout;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::lines::{Line, Lines};
use super::{AgentDriver, AgentEnd, AgentEvent, Job};
use crate::images::ImageKind;
use crate::supervise::{AgentCommand, Supervised, Supervision};
use crate::text::first_line;

/// What the demo agent's process runs. `$1` is the word from the table, `$2` the file, `$3` the line to append; then come files
/// that are copied into the worktree.
const SCRIPT: &str = include_str!("demo/agent.sh");
const PICTURE: &[u8] = include_bytes!("../../assets/demo.png");
const LINE_BYTES_MAX: usize = 4_096;
const NOTE_CHARS_MAX: usize = 80;
const DEFAULT_FILE: &str = "NOTES.md";
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The driver for the demo agent.
#[derive(Debug)]
pub struct Demo {
    supervision: Supervision,
    search_path: OsString,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Question,
    Fail,
    Slow,
    Picture,
    Edit,
}

impl Demo {
    /// A driver whose processes find their programs in `search_path`.
    pub fn new(supervision: Supervision, search_path: OsString) -> Self {
        Self { supervision, search_path }
    }

    fn command(&self, job: &Job, mode: Mode, file: &str) -> AgentCommand {
        let note = format!("- {}", first_line(&job.prompt, NOTE_CHARS_MAX));
        AgentCommand {
            program: "sh".into(),
            args: ["-c", SCRIPT, "demo-agent", mode.word(), file, &note]
                .map(OsString::from)
                .into_iter()
                .chain(job.files.iter().map(OsString::from))
                .collect(),
            env: vec![("PATH".to_owned(), self.search_path.clone())],
            directory: job.worktree.clone(),
            writable: Vec::new(),
            readable: job.readable.clone(),
            tools: None,
            api: None,
            lock: job.lock.clone(),
        }
    }

    async fn work(
        &self,
        job: &Job,
        mode: Mode,
        events: &mpsc::Sender<AgentEvent>,
        stop: &CancellationToken,
    ) -> AgentEnd {
        let file = named_file(&job.prompt);
        let failed = |reason: String| AgentEnd::Failed { reason };
        let mut agent = match self.supervision.start(self.command(job, mode, file)) {
            Ok(agent) => agent,
            Err(error) => return failed(format!("The demo agent could not be started: {error}")),
        };
        let Some(stdout) = agent.stdout.take() else { return failed("The demo agent has no output.".to_owned()) };
        // The demo agent's process has nothing to complain about; a full pipe must not hold it up.
        agent.stderr = None;
        let listening = listen(stdout, events);
        tokio::pin!(listening);
        tokio::select! {
            () = &mut listening => {}
            () = stop.cancelled() => {
                let _ = agent.stop().await;
                return AgentEnd::Stopped;
            }
            // Nothing is left that could write; what was written is still to be read.
            _ = agent.wait() => listening.await,
        }
        if !succeeded(&mut agent).await {
            return failed(
                "This is the demo agent: it fails when it is told to fail. No model is involved.".to_owned(),
            );
        }
        if mode == Mode::Picture {
            let caption = "A picture from the demo agent".to_owned();
            let _ = events.send(AgentEvent::Image { kind: ImageKind::Png, bytes: PICTURE.to_vec(), caption }).await;
        }
        AgentEnd::Done { text: answer(mode, file) }
    }
}

#[async_trait]
impl AgentDriver for Demo {
    fn name(&self) -> &'static str {
        "demo"
    }

    async fn run(&self, job: &Job, events: mpsc::Sender<AgentEvent>, stop: CancellationToken) -> AgentEnd {
        self.work(job, Mode::of(&job.prompt), &events, &stop).await
    }
}

async fn listen(stdout: ChildStdout, events: &mpsc::Sender<AgentEvent>) {
    let _ = events.send(AgentEvent::Started).await;
    let mut lines = Lines::new(stdout, LINE_BYTES_MAX);
    while let Some(Line::Whole(text) | Line::Cut(text)) = lines.next().await {
        let _ = events.send(AgentEvent::Progress(text)).await;
    }
}

async fn succeeded(agent: &mut Supervised) -> bool {
    let status = match tokio::time::timeout(EXIT_TIMEOUT, agent.wait()).await {
        Ok(status) => status,
        Err(_) => agent.stop().await,
    };
    status.is_ok_and(|status| status.success())
}

fn answer(mode: Mode, file: &str) -> String {
    let did = match mode {
        Mode::Question => "I have read your question and changed nothing.".to_owned(),
        _ => format!("I added a line to {file}."),
    };
    format!("{did} _This is the demo agent: no model is involved._")
}

/// The first word that names a file inside the worktree.
fn named_file(prompt: &str) -> &str {
    let mut words =
        prompt.split_whitespace().map(|word| word.trim_matches(['"', '\'', '`', ',', ';', ':', '.', '(', ')']));
    words.find(|word| is_file_name(word)).unwrap_or(DEFAULT_FILE)
}

fn is_file_name(word: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let part_is_plain = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(allowed);
    let extension = word.rsplit('/').next().and_then(|name| name.split_once('.')).map(|(_, extension)| extension);
    word.split('/').all(part_is_plain) && extension.is_some_and(|extension| extension.starts_with(char::is_alphabetic))
}

impl Mode {
    const WORDS: [(&'static str, Self); 4] =
        [("question", Self::Question), ("fail", Self::Fail), ("slow", Self::Slow), ("picture", Self::Picture)];

    fn of(prompt: &str) -> Self {
        let prompt = prompt.to_lowercase();
        Self::WORDS.into_iter().find(|(word, _)| prompt.contains(word)).map_or(Self::Edit, |(_, mode)| mode)
    }

    fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|(_, mode)| *mode == self).map_or("edit", |(word, _)| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_named_in_the_prompt_is_edited() {
        for (prompt, file) in [
            ("add a line to hello.txt please", "hello.txt"),
            ("Change `docs/notes.md`.", "docs/notes.md"),
            ("do something", "NOTES.md"),
            ("steal ../../etc/passwd.txt or /etc/x.conf or -rf.sh", "NOTES.md"),
            ("version 1.5 of .git/config", "NOTES.md"),
        ] {
            assert_eq!(named_file(prompt), file, "{prompt}");
        }
    }

    #[test]
    fn the_prompt_chooses_what_happens() {
        assert_eq!(Mode::of("A Question about fail"), Mode::Question);
        assert_eq!(Mode::of("be slow"), Mode::Slow);
        assert_eq!(Mode::of("write a.txt"), Mode::Edit);
    }

    #[test]
    fn every_answer_says_that_no_model_is_involved() {
        for mode in [Mode::Question, Mode::Picture, Mode::Slow, Mode::Edit] {
            assert!(answer(mode, "a.txt").contains("no model is involved"));
        }
    }
}
