//! A run at work: the repository made ready, the agent started and listened to until it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relay_core::id::RunId;
use relay_core::protocol::{BEAT_INTERVAL_MS, File, PROGRESS_CHARS_MAX, Task, VmEvent};
use relay_core::telemetry::traces;
use relay_core::time::humane;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::Runs;
use crate::clock;
use crate::driver::{AgentEnd, AgentEvent, Job};
use crate::git::park::branch_of;
use crate::git::remote::UrlTrust;
use crate::git::repository::{Repository, Session};
use crate::journal::Phase;
use crate::metrics::metrics;
use crate::text::clip;

/// What an agent may tell before anyone listens.
const EVENTS_MAX: usize = 64;

/// How a run's work ended, before it is known what it changed.
#[derive(Debug)]
pub(super) enum Ending {
    /// With these last words.
    Done(String),
    /// For this reason.
    Failed(String),
    /// Stopped, by a request to cancel or by the end of this process.
    Stopped,
    /// By the end of an earlier process.
    Interrupted,
}

impl Runs {
    /// Everything from the acceptance of a run to its report.
    pub(super) async fn work(&self, run: RunId, stop: CancellationToken) {
        let span = self.span(&run);
        let step = async {
            let ending = self.task(&run, &stop).await.unwrap_or_else(Ending::Failed);
            self.conclude(&run, ending).await;
        };
        let _at_work = metrics().run_at_work();
        self.with_beats(&run, step).instrument(span).await;
    }

    /// A run in its trace, in terms of <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-agent-spans/>.
    fn span(&self, run: &RunId) -> Span {
        let driver = self.driver();
        traces::begin(self.record(run).and_then(|record| record.trace).as_ref(), || {
            tracing::info_span!(
                parent: None,
                "invoke_agent",
                otel.name = format!("invoke_agent {driver}"),
                gen_ai.operation.name = "invoke_agent",
                gen_ai.agent.name = driver,
                gen_ai.provider.name = self.0.surroundings.driver.provider(),
                gen_ai.usage.input_tokens = Empty,
                gen_ai.usage.output_tokens = Empty,
                gen_ai.usage.cache_read.input_tokens = Empty,
                gen_ai.usage.cache_creation.input_tokens = Empty,
                %run,
                trace_id = Empty,
            )
        })
    }

    /// Show that the run is alive while `step` takes its time.
    pub(super) async fn with_beats(&self, run: &RunId, step: impl Future<Output = ()>) {
        let beats = async {
            let mut interval = tokio::time::interval(Duration::from_millis(BEAT_INTERVAL_MS));
            interval.tick().await;
            loop {
                interval.tick().await;
                self.tell(run, VmEvent::Beat);
            }
        };
        tokio::select! {
            biased;
            () = step => {}
            () = beats => {}
        }
    }

    async fn task(&self, run: &RunId, stop: &CancellationToken) -> Result<Ending, String> {
        match self.record(run).and_then(|record| record.task) {
            Some(Task::Prompt { text, files }) => self.prompt(run, text, &files, stop).await,
            Some(Task::Clone { url }) => tokio::select! {
                ending = self.clone_repository(&url) => ending,
                () = stop.cancelled() => Ok(Ending::Stopped),
            },
            Some(Task::Resume { parked }) => self
                .bring_back(run, &parked)
                .await
                .map(|_| Ending::Done(format!("The work of run {} is back.", parked.number()))),
            Some(Task::Revise { parked, text }) => self.revise(run, &parked, text, stop).await,
            None => Ok(Ending::Stopped),
        }
    }

    async fn prompt(
        &self,
        run: &RunId,
        prompt: String,
        files: &[File],
        stop: &CancellationToken,
    ) -> Result<Ending, String> {
        let files = self.files(files)?;
        let repository = tokio::select! {
            repository = self.current_repository() => repository?,
            () = stop.cancelled() => return Ok(Ending::Stopped),
        };
        tokio::select! {
            () = self.ask_origin(run, &repository) => {}
            () = stop.cancelled() => return Ok(Ending::Stopped),
        }
        follow_origin(&repository).await?;
        // Both to their ends: a git that is killed leaves its locks.
        let (begun, prepared) = tokio::join!(self.begin(run, &repository), repository.prepare_for_agent());
        begun.and(prepared.map_err(|error| error.to_string()))?;
        self.at_work(run, prompt, files, &repository, stop).await
    }

    /// Bring parked work back and have the agent go on with it: what has changed in the end is both.
    async fn revise(
        &self,
        run: &RunId,
        parked: &RunId,
        text: String,
        stop: &CancellationToken,
    ) -> Result<Ending, String> {
        let repository = self.bring_back(run, parked).await?;
        repository.prepare_for_agent().await.map_err(|error| error.to_string())?;
        self.at_work(run, text, Vec::new(), &repository, stop).await
    }

    /// The agent at work on what lies ready.
    async fn at_work(
        &self,
        run: &RunId,
        prompt: String,
        files: Vec<PathBuf>,
        repository: &Repository,
        stop: &CancellationToken,
    ) -> Result<Ending, String> {
        if stop.is_cancelled() {
            return Ok(Ending::Stopped);
        }
        let session = session_of(repository, run).map(|session| session.id);
        let lock = self.with_log(run, |log| Ok(log.lock())).map_err(|error| error.to_string())?;
        let mut readable = vec![repository.objects()];
        readable.extend(files.iter().filter_map(|file| file.parent()).map(Path::to_owned));
        let worktree = repository.worktree().to_owned();
        let desk = self.state().active(run).map(|active| Arc::clone(&active.desk)).unwrap_or_default();
        let job = Job { run: run.clone(), prompt, files, worktree, session, readable, desk, lock };
        Ok(self.drive(&job, repository, stop).await)
    }

    /// Where the files of a task are.
    fn files(&self, files: &[File]) -> Result<Vec<PathBuf>, String> {
        let missing = |file: &File| format!("The file {} did not reach your VM. Please send it again.", file.name);
        let path = |file: &File| match self.0.surroundings.uploads.named(file) {
            Ok(Some(path)) => Ok(path),
            Ok(None) => Err(missing(file)),
            Err(error) => Err(format!("A file that you sent cannot be read: {error}")),
        };
        files.iter().map(path).collect()
    }

    /// Learn what origin has new. Without it the run works on what is here: the person is told.
    async fn ask_origin(&self, run: &RunId, repository: &Repository) {
        if let Err(error) = repository.ask_origin().await {
            tracing::warn!(%error, %run, "origin could not be asked for what is new");
            let text = format!("⚠️ Origin could not be asked for what is new, so I work on what is here. {error}");
            self.tell(run, VmEvent::Progress { text: clip(&text, PROGRESS_CHARS_MAX) });
        }
    }

    /// Keep the worktree as it is, and write down that from now on it is the run's.
    async fn begin(&self, run: &RunId, repository: &Repository) -> Result<(), String> {
        let snapshot = repository.snapshot().await.map_err(|error| error.to_string())?;
        let begun = self.with_log(run, |log| {
            log.update(|record| {
                record.repository = Some(repository.name().to_owned());
                record.snapshot = Some(snapshot);
                if record.phase == Phase::Accepted {
                    record.phase = Phase::Working;
                }
            })
        });
        begun.map_err(|error| format!("The run could not be written down: {error}"))
    }

    async fn drive(&self, job: &Job, repository: &Repository, stop: &CancellationToken) -> Ending {
        let surroundings = &self.0.surroundings;
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let agent_stop = stop.child_token();
        let work = surroundings.driver.run(job, sender, agent_stop.clone());
        let timeout = tokio::time::sleep(surroundings.run_timeout);
        tokio::pin!(work, timeout);
        let mut timed_out = false;
        let end = loop {
            tokio::select! {
                end = &mut work => break end,
                Some(event) = events.recv() => self.hear(&job.run, repository, event).await,
                () = &mut timeout, if !timed_out => {
                    timed_out = true;
                    agent_stop.cancel();
                }
            }
        };
        while let Ok(event) = events.try_recv() {
            self.hear(&job.run, repository, event).await;
        }
        match end {
            AgentEnd::Done { text } => Ending::Done(text),
            AgentEnd::Failed { reason } => Ending::Failed(reason),
            AgentEnd::Stopped if stop.is_cancelled() => Ending::Stopped,
            AgentEnd::Stopped => Ending::Failed(format!(
                "The run took longer than {} and was stopped. Send a smaller task.",
                humane(surroundings.run_timeout)
            )),
        }
    }

    async fn hear(&self, run: &RunId, repository: &Repository, event: AgentEvent) {
        if let Some(active) = self.state().active(run) {
            active.last_output_at = clock::now();
        }
        match event {
            AgentEvent::Started => self.tell(run, VmEvent::Started { driver: self.driver().to_owned() }),
            AgentEvent::Progress(text) if text.trim().is_empty() => {}
            AgentEvent::Progress(text) => self.tell(run, VmEvent::Progress { text: clip(&text, PROGRESS_CHARS_MAX) }),
            AgentEvent::Session(id) => {
                let known = session_of(repository, run).filter(|session| session.id == id);
                keep_session(repository, run, &known.unwrap_or(Session { id, cost_microusd: 0 }));
            }
            AgentEvent::Cost(total) => self.count_cost(run, repository, total),
            AgentEvent::Image { kind, bytes, caption } => match self.images().store(run, kind, &bytes) {
                Ok(name) => {
                    let caption = clip(&caption, PROGRESS_CHARS_MAX);
                    self.tell(run, VmEvent::Image { name: name.as_str().to_owned(), caption });
                }
                Err(error) => tracing::warn!(%error, "a picture cannot be kept"),
            },
            AgentEvent::Inquiry { number, text, options, several, timeout } => {
                let text = clip(&text, PROGRESS_CHARS_MAX);
                let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                self.tell(run, VmEvent::Inquiry { number, text, options, several, timeout_ms });
            }
            AgentEvent::InquiryOver(number) => self.tell(run, VmEvent::InquiryOver { number }),
            AgentEvent::Alive => {}
        }
    }

    /// The session has cost so much by now: what it had not cost before is the run's.
    fn count_cost(&self, run: &RunId, repository: &Repository, total: u64) {
        let session = session_of(repository, run);
        let before = session.as_ref().map_or(0, |session| session.cost_microusd);
        let cost = total.saturating_sub(before);
        metrics().cost(cost);
        // First: should this process die right here, the next run must not be told to have cost this as well.
        if let Some(session) = session {
            keep_session(repository, run, &Session { cost_microusd: total, ..session });
        }
        let counted = self.with_log(run, |log| {
            log.update(|record| record.cost_microusd = Some(record.cost_microusd.unwrap_or(0) + cost))
        });
        if let Err(error) = counted {
            tracing::warn!(%error, %run, "the cost of a run cannot be written down");
        }
    }

    /// Report something that the run can do without, and that must not take the room of what it can't.
    pub(super) fn tell(&self, run: &RunId, event: VmEvent) {
        match self.with_log(run, |log| log.append(event)) {
            Ok(()) => self.0.appended.notify_one(),
            Err(error) => tracing::warn!(%error, %run, "a report cannot be written down; leaving it out"),
        }
    }

    /// The current repository; the operator's own is cloned when there is none yet.
    pub(super) async fn current_repository(&self) -> Result<Repository, String> {
        let surroundings = &self.0.surroundings;
        let _one_clones = self.0.cloning.lock().await;
        if let Some(repository) = surroundings.repositories.current().await.map_err(|error| error.to_string())? {
            return Ok(repository);
        }
        let Some(url) = &surroundings.repo_url else {
            return Err("There is no repository on this VM yet. Send `clone` and its address.".to_owned());
        };
        let cloned = surroundings.repositories.clone_url(url, UrlTrust::Operator).await;
        cloned.map_err(|error| format!("The VM's repository (REPO_URL) could not be cloned. {error}"))
    }

    /// Clone the operator's repository ahead of the first run, which tries again and tells, should it fail.
    pub async fn clone_first_repository(&self) {
        if self.0.surroundings.repo_url.is_some()
            && let Err(error) = self.current_repository().await
        {
            tracing::warn!(error, "no repository yet");
        }
    }

    async fn clone_repository(&self, url: &str) -> Result<Ending, String> {
        let cloned = self.0.surroundings.repositories.clone_url(url, UrlTrust::Person).await;
        let repository = cloned.map_err(|error| error.to_string())?;
        Ok(Ending::Done(format!("*{}* is cloned, and is the current repository.", repository.name())))
    }

    /// Put parked work back into its worktree, as this run's.
    async fn bring_back(&self, run: &RunId, parked: &RunId) -> Result<Repository, String> {
        let repository = self.current_repository().await?;
        if let Some(name) = self.record(parked).and_then(|record| record.repository)
            && name != repository.name()
        {
            return Err(format!("That work belongs to *{name}*. Send `switch {name}` first."));
        }
        self.begin(run, &repository).await?;
        repository.bring_back(parked, &branch_of(parked)).await.map_err(|error| error.to_string())?;
        Ok(repository)
    }
}

/// Begin where origin is, if nothing here is in the way. What fails half-way is a mixture, and no place to begin.
async fn follow_origin(repository: &Repository) -> Result<(), String> {
    repository.follow_origin().await.map_err(|error| {
        format!(
            "What is new at origin could not be taken up, so the work was not begun: {error}\n\
             Once that is mended, send the task again; what was begun is finished first."
        )
    })
}

fn session_of(repository: &Repository, run: &RunId) -> Option<Session> {
    repository.session(&run.conversation()?).unwrap_or_else(|error| {
        tracing::warn!(%error, "the agent's session cannot be read; starting a new one");
        None
    })
}

fn keep_session(repository: &Repository, run: &RunId, session: &Session) {
    let Some(conversation) = run.conversation() else { return };
    if let Err(error) = repository.keep_session(&conversation, Some(session)) {
        tracing::warn!(%error, "the agent's session cannot be kept");
    }
}
