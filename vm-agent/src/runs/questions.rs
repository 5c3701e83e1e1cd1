//! What is answered at once, without a run, in words for the chat.

use relay_core::id::{ConversationId, RunId};
use relay_core::machine::effect::TRY_TIMEOUT;
use relay_core::protocol::{ANSWER_CHARS_MAX, Answer, ChangedFiles, DIFF_BYTES_MAX, Question, RunOutcome};
use tokio::time::{Duration, timeout};

use super::Runs;
use crate::git::GitError;
use crate::git::repository::Repository;
use crate::git::snapshot::Changes;
use crate::git::worktree::Found;
use crate::journal::{Phase, RunLog};
use crate::refusal::Refused;
use crate::text::{clip, head};

/// Shorter than a relay waits, so that the person reads that it takes too long and not that the VM is asleep.
const ANSWER_TIMEOUT: Duration = TRY_TIMEOUT.saturating_sub(Duration::from_secs(1));
/// Names in a list at most.
const NAMES_MAX: usize = 50;

impl Runs {
    /// Answer a question, or refuse it, within a bounded time. A change that takes longer is finished all the same.
    pub async fn ask(&self, asking: ConversationId, question: Question) -> Result<Answer, Refused> {
        let runs = self.clone();
        // In a task of its own, so that no change is left half done when the time is up.
        let answer = self.0.tasks.spawn(async move { runs.answer(&asking, question).await });
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Refused::invalid("That went wrong on the VM. Try again.")),
            Err(_) => Err(Refused::invalid("That takes the VM too long. Try again in a moment.")),
        }
    }

    /// What a person finds at `path` of the current repository's worktree, also while a run works on it.
    pub async fn look(&self, path: &str) -> Result<Found, Refused> {
        let repository = self.present_repository().await?;
        match timeout(ANSWER_TIMEOUT, repository.look(path)).await {
            Ok(found) => found.map_err(refused),
            Err(_) => Err(Refused::invalid("That takes the VM too long. Try again in a moment.")),
        }
    }

    async fn answer(&self, asking: &ConversationId, question: Question) -> Result<Answer, Refused> {
        match question {
            Question::Diff => self.diff(asking).await,
            Question::Show { file } => self.show(&file).await,
            Question::Repos => self.repos().await,
            Question::Switch { name } => self.switch(&name).await,
            Question::Branch => self.branches().await,
            Question::Checkout { name, create } => self.checkout(&name, create).await,
            Question::Clear => self.clear(asking).await,
        }
    }

    /// What the run at work has changed so far, or what the latest one with a diff had. Of runs that somebody else has asked for
    /// nothing is shown.
    async fn diff(&self, asking: &ConversationId) -> Result<Answer, Refused> {
        let is_theirs = |run: &RunId| run.conversation().as_ref() == Some(asking);
        let at_work = self.active_run().filter(|run| is_theirs(run) && self.is_working(run));
        if let Some(run) = at_work
            && let Some((repository, before)) = self.scene(&run).await.map_err(Refused::not_found)?
        {
            return match repository.changes(&before).await.map_err(refused)? {
                Some(Changes { stat, diff, diff_cut, files, .. }) => {
                    Ok(diff_answer(&format!("{stat} so far"), &files, &diff, diff_cut))
                }
                None => Ok(plain("The run has not changed any file yet.")),
            };
        }
        match self.newest_changes(asking)? {
            Some(RunOutcome::Changes { stat, diff, diff_cut, files, .. }) => {
                Ok(diff_answer(&stat.to_string(), &files, &diff, diff_cut))
            }
            _ => Ok(plain("There is no diff yet. Send a task first.")),
        }
    }

    fn is_working(&self, run: &RunId) -> bool {
        self.record(run).is_some_and(|record| record.phase == Phase::Working)
    }

    fn newest_changes(&self, asking: &ConversationId) -> Result<Option<RunOutcome>, Refused> {
        let state = self.state();
        let is_theirs = |log: &&RunLog| log.record().run.conversation().as_ref() == Some(asking);
        let mut logs: Vec<&RunLog> = state.journal.logs().filter(is_theirs).collect();
        logs.sort_unstable_by_key(|log| std::cmp::Reverse(log.record().accepted_at));
        for log in logs {
            if let Some(changes) = log.newest_changes().map_err(|error| Refused::disk(&error))? {
                return Ok(Some(changes));
            }
        }
        Ok(None)
    }

    async fn show(&self, file: &str) -> Result<Answer, Refused> {
        let read = self.present_repository().await?.read_file(file, DIFF_BYTES_MAX).await.map_err(refused)?;
        let text = match read.cut {
            true => format!("*{file}* ({} bytes, the beginning)", read.bytes),
            false => format!("*{file}*"),
        };
        Ok(Answer { text: clip(&text, ANSWER_CHARS_MAX), code: Some(read.text) })
    }

    async fn repos(&self) -> Result<Answer, Refused> {
        let names = self.0.surroundings.repositories.list().await.map_err(refused)?;
        let current = self.repository().await;
        if names.is_empty() {
            return Ok(plain("There is no repository on this VM yet. Send `clone` and its address."));
        }
        let is_current = |name: &String| current.as_ref() == Some(name);
        let line = |name| if is_current(name) { format!("• *{name}* (current)") } else { format!("• {name}") };
        Ok(plain(&list(names.iter().map(line))))
    }

    async fn switch(&self, name: &str) -> Result<Answer, Refused> {
        let _hold = self.hold_for_question()?;
        self.0.surroundings.repositories.switch(name).await.map_err(refused)?;
        Ok(plain(&format!("*{name}* is the current repository now.")))
    }

    async fn branches(&self) -> Result<Answer, Refused> {
        let branches = self.present_repository().await?.branches().await.map_err(refused)?;
        let current = std::iter::once(format!("• *{}* (current)", branches.current));
        Ok(plain(&list(current.chain(branches.others.iter().map(|name| format!("• {name}"))))))
    }

    async fn checkout(&self, name: &str, create: bool) -> Result<Answer, Refused> {
        let _hold = self.hold_for_question()?;
        self.present_repository().await?.checkout(name, create).await.map_err(refused)?;
        Ok(plain(&format!("The branch *{name}* is checked out.")))
    }

    async fn clear(&self, asking: &ConversationId) -> Result<Answer, Refused> {
        let repository = self.present_repository().await?;
        repository.keep_session(asking, None).map_err(|error| Refused::disk(&error))?;
        Ok(plain("Done. The next task starts a new session of the agent."))
    }

    async fn present_repository(&self) -> Result<Repository, Refused> {
        let current = self.0.surroundings.repositories.current().await.map_err(refused)?;
        current
            .ok_or_else(|| Refused::not_found("There is no repository on this VM yet. Send `clone` and its address."))
    }
}

fn plain(text: &str) -> Answer {
    Answer { text: clip(text, ANSWER_CHARS_MAX), code: None }
}

fn list(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.collect();
    let more = lines.len().saturating_sub(NAMES_MAX);
    let shown = lines[..lines.len() - more].join("\n");
    if more > 0 { format!("{shown}\n… and {more} more") } else { shown }
}

fn diff_answer(stat: &str, files: &ChangedFiles, diff: &str, cut: bool) -> Answer {
    let stat = if cut { format!("*{stat}* (the beginning)") } else { format!("*{stat}*") };
    let lines: Vec<String> = std::iter::once(stat).chain(files.lines(NAMES_MAX)).collect();
    Answer { text: clip(&lines.join("\n"), ANSWER_CHARS_MAX), code: Some(head(diff, DIFF_BYTES_MAX).to_owned()) }
}

fn refused(error: GitError) -> Refused {
    let message = clip(&error.to_string(), ANSWER_CHARS_MAX);
    match error {
        GitError::NotFound(_) => Refused::not_found(message),
        GitError::Invalid(_) => Refused::invalid(message),
        // Not the person's mistake, but the person is who waits for an answer.
        _ => {
            tracing::warn!(%error, "a question could not be answered");
            Refused::invalid(message)
        }
    }
}
