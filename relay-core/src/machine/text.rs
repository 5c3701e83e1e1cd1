//! Every sentence that a person reads from the relay: plain language, what happened and what to do, WhatsApp markup.

use std::time::Duration;

use crate::id::RunId;
use crate::machine::conversation::{Conversation, Ending, Phase, Verbosity};
use crate::machine::split;
use crate::protocol::{ChangedFiles, Decision, DiffStat, Spent, Task};
use crate::time::{Timestamp, humane};

mod inquiry;
mod operator;
pub mod review;

pub use inquiry::{INQUIRY_NOT_SHOWN, INQUIRY_OVER, OLD_INQUIRY, REPLY_LOST, REPLY_TOO_LATE};
pub(super) use inquiry::{choose_option, goes_on, inquiry, no_such_option};
pub(super) use operator::{cancelled_by_operator, dropped_by_operator};

/// Files that are named with a diff at most; *diff* names more.
const FILES_TOLD_MAX: usize = 10;
/// UTF-16 units of their names: a summary has to fit beside them.
const FILES_TOLD_UNITS_MAX: usize = 700;

/// `help`.
pub const HELP: &str = "Write what you want done; I hand it to your coding agent and show you the diff.\n\
    \n\
    *approve* (a): open a pull request with exactly the diff shown\n\
    *reject* (r): put everything back as it was\n\
    *cancel* (c): stop the run and forget what waits\n\
    *status*, *queue*, *drop N*: what is going on, what waits, take one out\n\
    *diff*, *show FILE*: look at the work\n\
    *resume RUN*: bring parked work back\n\
    *repos*, *clone URL*, *switch NAME*: repositories\n\
    *branch*, *checkout NAME*, *checkout -b NAME*: branches\n\
    *clear*: start a new session with the agent\n\
    *quiet*, *normal*, *verbose*: hear no progress, some of it, or all of it\n\
    \n\
    A word counts only when it is the whole message.";

/// The VM has been called for a while without an answer.
pub const WAKING: &str = "⏳ Waking up your VM…";
/// A message without text.
pub const EMPTY: &str = "There was nothing in that message that I can read. Write what you want done, or *help*.";
/// A button that is not known.
pub const UNKNOWN_BUTTON: &str = "I don't know that button. Write *help* to see what I understand.";
/// `cancel` with nothing going on.
pub const NOTHING_TO_CANCEL: &str = "Nothing is running, so there is nothing to cancel.";
/// `queue` with nothing waiting.
pub const QUEUE_EMPTY: &str = "Nothing is waiting.";
/// An answer while the message with the diff is still on its way.
pub const NOT_SHOWN_YET: &str = "The diff is still on its way to you. Read it first, then answer.";
/// An answer to a diff that was given up on its way.
pub const DIFF_LOST: &str = "The diff has not reached you. *diff* shows it; read it, then answer.";
/// A question while the VM is being called in vain.
pub const ASK_LATER: &str = "Your VM can't be asked just now; I am still trying to reach it. Try again in a moment.";
/// A question the VM did not answer.
pub const ASK_UNANSWERED: &str = "Your VM did not answer. Try again in a moment.";
/// Before the address of the page on which one can look on at a run.
pub const FOLLOW: &str = "Follow it:";
/// More code than the channel should carry.
pub const CODE_CUT: &str = "…and more than fits here. *show FILE* shows one file. All of it:";
/// A diff that is too long for messages, and that was drawn.
pub const DRAWN: &str = "The diff is in the picture and the document above; *diff* and *show FILE* show it as text.";
/// The same of a diff that is longer than any is told.
pub const DRAWN_IN_PART: &str =
    "⚠️ The diff is longer than the picture and the document above can show: *show FILE* shows a file.";
/// In the place of a list of files that is too long for its place.
const FILES_NOT_TOLD: &str =
    "⚠️ The files are not named here, because their names take too much room: *diff* tells them.\n";
/// Stands before the end of a text whose middle was left out.
pub const CONTINUED: &str = "…\n";
/// An answer that was taken in long after it was sent.
pub const ANSWER_TOO_LATE: &str =
    "Your answer reached me late, so I can't be sure which diff it is for. Please answer the one that waits now again.";
/// A file that could not be fetched.
pub const FILE_LOST: &str = "Your file could not be fetched. Please send it again.";
/// A voice note where nobody can write it down.
pub const NO_TRANSCRIPTION: &str = "I can't listen to voice notes here. Please write it as text.";
/// The same, with words or other files beside it.
pub const VOICE_AS_FILE: &str = "I can't listen to voice notes here; your agent is given it as a file.";
/// A voice note that could not be written down.
pub const NOT_UNDERSTOOD: &str = "Your voice note could not be made out. Please write it as text, or record it again.";
/// A picture that could not be fetched.
pub const PICTURE_LOST: &str = "The agent made a picture, but it could not be fetched from your VM.";

pub(super) fn run_name(run: &RunId) -> String {
    format!("run {}", run.number())
}

/// The question under a diff, where buttons need a message of their own.
pub(super) fn choose(run: &RunId) -> String {
    format!("What becomes of {}? *approve* or *reject*.", run_name(run))
}

/// Between the start of a text and the address of all of it.
pub(super) fn left_out(characters: usize) -> String {
    format!("✂️ {characters} characters are left out here. All of it:")
}

/// A message that the channel refused or lost.
pub(super) fn undelivered(reason: &str) -> String {
    format!("⚠️ A message to you could not be delivered ({reason}). *status* and *diff* tell where things are.")
}

/// `cancel` while files were on their way in.
pub(super) fn forgotten(messages: usize) -> String {
    match messages {
        1 => "Your message is forgotten.".to_owned(),
        n => format!("Your {n} messages are forgotten."),
    }
}

/// Of a message with a file that can't be used, all is left out.
pub(super) fn file_refused(why: &str) -> String {
    format!("⚠️ {why} Nothing of that message was taken on.")
}

pub(super) fn unsupported(what: &str) -> String {
    format!("{what} can't be used here yet. Please write it as text.")
}

pub(super) fn started(run: &RunId, driver: &str) -> String {
    format!("🔧 Working on it: {} ({driver}).", run_name(run))
}

/// The only line about a task before its result, for a person who wants no more.
pub(super) fn taken_on(run: &RunId) -> String {
    format!("📥 Taken on as {}.", run_name(run))
}

pub(super) fn verbosity(verbosity: Verbosity) -> &'static str {
    match verbosity {
        Verbosity::Quiet => {
            "🔕 *quiet*: no progress from now on, only answers, results, questions and problems. \
             *normal* brings progress back."
        }
        Verbosity::Normal => {
            "🔔 *normal*: progress from now on, but not in a flood. *quiet* and *verbose* change that."
        }
        Verbosity::Verbose => "📣 *verbose*: every bit of progress from now on, as it comes. *normal* makes it less.",
    }
}

pub(super) fn queued(position: usize, phase: &Phase) -> String {
    let hint = match phase {
        Phase::AwaitingApproval(pending) => {
            format!(" It starts once you *approve* or *reject* {}.", run_name(&pending.run))
        }
        _ => String::new(),
    };
    format!("📥 Queued at position {position}.{hint}")
}

pub(super) fn queue_full(max: usize) -> String {
    format!("{max} messages are waiting already, so this one was *not* kept. See *queue*, take one out with *drop N*.")
}

pub(super) fn queue(tasks: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = tasks.enumerate().map(|(at, task)| format!("{}. {task}", at + 1)).collect();
    format!("Waiting:\n{}", lines.join("\n"))
}

pub(super) fn dropped(position: usize, task: &str) -> String {
    format!("Taken out of the queue: {position}. {task}")
}

pub(super) fn no_such_position(position: usize, waiting: usize) -> String {
    match waiting {
        0 => QUEUE_EMPTY.to_owned(),
        _ => format!("There is no position {position}; {waiting} waiting. See *queue*."),
    }
}

/// The start of a task, short enough for a list.
pub fn task(task: &Task) -> String {
    match task {
        Task::Prompt { text, files } => {
            let named = files.first().filter(|_| text.trim().is_empty()).map(|file| file.name.as_str());
            short(named.unwrap_or(text))
        }
        Task::Clone { url } => format!("clone {url}"),
        Task::Resume { parked } => format!("resume {}", parked.number()),
        Task::Revise { parked, text } => format!("revise {}: {}", parked.number(), short(text)),
    }
}

fn short(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().take(60).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

pub(super) fn busy_with(phase: &Phase) -> String {
    let (run, doing) = match phase {
        Phase::Idle => return "Nothing is running.".to_owned(),
        Phase::Starting { run, .. } => (run, "is starting"),
        Phase::Stalled { run, .. } => (run, "waits for your VM, which does not answer"),
        Phase::Working { run, .. } => (run, "is at work"),
        Phase::AwaitingApproval(pending) => (&pending.run, "waits for your *approve* or *reject*"),
        Phase::Deciding { pending, revision: Some(_), .. } => (&pending.run, "is being handed back to the agent"),
        Phase::Deciding { pending, decision, .. } => (&pending.run, deciding(*decision)),
        Phase::Cancelling { run, .. } => (run, "is being stopped"),
    };
    format!("{} {doing}.", capital(run))
}

fn deciding(decision: Decision) -> &'static str {
    match decision {
        Decision::Approve => "is being turned into a pull request",
        Decision::Reject => "is being rolled back",
        Decision::Park => "is being parked, because its time for an answer ran out",
    }
}

pub(super) fn finish_first(phase: &Phase) -> String {
    format!("{} Finish that first; the repository is in use.", busy_with(phase))
}

pub(super) fn status(conversation: &Conversation, now: Timestamp) -> String {
    let mut text = busy_with(&conversation.phase);
    if let Phase::Working { since, task: current, .. } = &conversation.phase {
        text = format!("{text} Since {}: {}", humane(now.since(*since)), task(current));
    }
    if conversation.inquiry.is_some() {
        text = format!("{text} The agent waits for your answer.");
    }
    if let Some(at) = conversation.timers.get(&super::Timer::Approval) {
        text = format!("{text} It is parked in {} if you don't answer.", humane(at.since(now)));
    }
    if let waiting @ 1.. = conversation.queue.len() {
        text = format!("{text}\n{waiting} waiting; see *queue*.");
    }
    match conversation.verbosity {
        Verbosity::Quiet => format!("{text}\nYou hear no progress (*quiet*); *normal* brings it back."),
        Verbosity::Normal => text,
        Verbosity::Verbose => format!("{text}\nYou hear all progress (*verbose*); *normal* makes it less."),
    }
}

pub(super) fn changes(
    run: &RunId,
    summary: &str,
    stat: &DiffStat,
    files: &ChangedFiles,
    drawn: Option<&str>,
    spent: Option<&Spent>,
    timeout: Duration,
) -> String {
    let drawn = drawn.map(|drawn| format!("{drawn}\n")).unwrap_or_default();
    format!(
        "✅ {summary}\n\n*{stat}* ({}{})\n{}{drawn}*approve* opens a pull request with exactly this diff, *reject* rolls it back. \
         Without an answer it is parked in {}.",
        run_name(run),
        spent.map(|spent| format!(", {}", took(spent))).unwrap_or_default(),
        file_lines(files),
        humane(timeout)
    )
}

/// As many files as fit beside a summary, each with its line's end.
fn file_lines(files: &ChangedFiles) -> String {
    let told =
        |files_max: usize| files.lines(files_max).into_iter().map(|line| format!("{line}\n")).collect::<String>();
    let fits = |lines: &String| split::units(lines) <= FILES_TOLD_UNITS_MAX;
    (1..=FILES_TOLD_MAX).rev().map(told).find(fits).unwrap_or_else(|| FILES_NOT_TOLD.to_owned())
}

/// The agent's last words, where it changed nothing.
pub(super) fn answered(run: &RunId, said: &str, spent: Option<&Spent>) -> String {
    format!("{said}{}", footer(run, spent))
}

fn footer(run: &RunId, spent: Option<&Spent>) -> String {
    spent.map(|spent| format!("\n\n_{}: {}_", capital(run), took(spent))).unwrap_or_default()
}

/// `3 min, $0.12`.
fn took(spent: &Spent) -> String {
    let time = humane(Duration::from_millis(spent.duration_ms));
    match spent.cost_microusd {
        None => time,
        Some(cost) => format!("{time}, {}", dollars(cost)),
    }
}

fn dollars(microusd: u64) -> String {
    let cents = microusd.saturating_add(5_000) / 10_000;
    if microusd < 10_000 { "less than $0.01".to_owned() } else { format!("${}.{:02}", cents / 100, cents % 100) }
}

pub(super) fn approval_warning(run: &RunId, left: Duration) -> String {
    format!("⏰ {} still waits for your *approve* or *reject*. In {} it is parked.", capital(run), humane(left))
}

pub(super) fn decision_taken(run: &RunId, decision: Decision) -> String {
    match decision {
        Decision::Approve => format!("Opening a pull request for {}…", run_name(run)),
        Decision::Reject => format!("Rolling {} back…", run_name(run)),
        Decision::Park => format!("⏰ No answer for {}, so its work is being parked.", run_name(run)),
    }
}

pub(super) fn pull_request(run: &RunId, url: &str) -> String {
    format!("🎉 {} is a pull request: {url}", capital(run))
}

pub(super) fn pushed(run: &RunId, branch: &str, note: &str) -> String {
    format!("🎉 {} is pushed as branch `{branch}`. {note}", capital(run))
}

pub(super) fn rolled_back(run: &RunId) -> String {
    format!("↩️ {} is rolled back; everything is as it was before.", capital(run))
}

pub(super) fn parked(run: &RunId, branch: &str) -> String {
    format!("🅿️ {} is parked on the local branch `{branch}`. *resume {}* brings it back.", capital(run), run.number())
}

pub(super) fn decision_failed(run: &RunId, decision: Decision, reason: &str) -> String {
    let what = match decision {
        Decision::Approve => "could not become a pull request",
        Decision::Reject => "could not be rolled back",
        Decision::Park => "could not be parked",
    };
    format!("⚠️ {} {what}: {reason}\nThe work is kept. *approve* and *reject* still work.", capital(run))
}

pub(super) fn failed(run: &RunId, reason: &str, kept: Option<&str>, spent: Option<&Spent>) -> String {
    format!("⚠️ {} failed: {reason}{}{}", capital(run), kept_on(run, kept), footer(run, spent))
}

pub(super) fn interrupted(run: &RunId, kept: Option<&str>) -> String {
    format!(
        "⚠️ Your VM was restarted while {} was at work. Write it again to start over.{}",
        run_name(run),
        kept_on(run, kept)
    )
}

fn kept_on(run: &RunId, kept: Option<&str>) -> String {
    kept.map_or_else(String::new, |branch| {
        format!("\nWhat it had changed is on the local branch `{branch}`; *resume {}* brings it back.", run.number())
    })
}

pub(super) fn cancelling(run: &RunId, dropped: usize) -> String {
    match dropped {
        0 => format!("Stopping {}…", run_name(run)),
        n => format!("Stopping {}… {n} waiting also dropped.", run_name(run)),
    }
}

pub(super) fn cancelled(run: &RunId) -> String {
    format!("🛑 {} is stopped. Nothing of it is left running and the files are as they were before.", capital(run))
}

pub(super) fn ended_before_cancel(run: &RunId) -> String {
    format!("{} had ended by itself before it could be stopped.", capital(run))
}

pub(super) fn cancel_unconfirmed(run: &RunId) -> String {
    format!(
        "⚠️ Your VM does not answer, so I can't confirm that {} has stopped. I ask again when you write.",
        run_name(run)
    )
}

pub(super) fn too_late_to_cancel(phase: &Phase) -> String {
    format!("{} That can't be stopped any more.", busy_with(phase))
}

/// A run can't start at once, for a reason that the VM gave.
pub(super) fn held_up(message: &str) -> String {
    format!("⏳ {message} I keep trying.")
}

pub(super) fn stalled(run: &RunId, waited: Duration, message: Option<&str>) -> String {
    let why =
        message.map_or_else(|| "Your VM did not answer".to_owned(), |message| message.trim_end_matches('.').to_owned());
    format!(
        "⚠️ {why}, for {} now. Your message is kept ({}); I try again when you write anything.",
        humane(waited),
        run_name(run)
    )
}

pub(super) fn quiet(run: &RunId, silence: Duration) -> String {
    format!("😶 {} has been silent for {} but is still running. *cancel* stops it.", capital(run), humane(silence))
}

pub(super) fn unreachable(run: &RunId) -> String {
    format!(
        "⚠️ Your VM does not answer; what became of {} is not known yet. I keep asking. *cancel* stops it.",
        run_name(run)
    )
}

pub(super) fn run_lost(run: &RunId) -> String {
    format!("⚠️ Your VM no longer knows {}. Write it again to start over.", run_name(run))
}

pub(super) fn refused(message: &str) -> String {
    format!("⚠️ {message}")
}

pub(super) fn decide_unanswered(run: &RunId) -> String {
    format!("⚠️ Your VM did not answer. Nothing is lost: answer *approve* or *reject* for {} again.", run_name(run))
}

/// An answer for which there is no diff waiting.
pub(super) fn nothing_to_decide(conversation: &Conversation) -> String {
    match (&conversation.phase, conversation.past.back()) {
        (Phase::Idle, Some(past)) => format!("Nothing waits for an answer. {}", ending(&past.run, &past.ending)),
        (Phase::Idle, None) => "Nothing waits for an answer.".to_owned(),
        (phase, _) => format!("Nothing waits for an answer yet. {}", busy_with(phase)),
    }
}

/// A button of a diff that no longer waits.
pub(super) fn old_button(conversation: &Conversation, run: &RunId) -> String {
    match conversation.ending(run) {
        Some(known) => format!("That button is old. {}", ending(run, known)),
        None => "That button is old; its diff no longer waits for an answer.".to_owned(),
    }
}

pub(super) fn not_parked(conversation: &Conversation, run: &RunId) -> String {
    match conversation.ending(run) {
        Some(known) => format!("There is nothing to bring back. {}", ending(run, known)),
        None => format!("I don't remember {}; there is nothing to bring back.", run_name(run)),
    }
}

fn ending(run: &RunId, ending: &Ending) -> String {
    let name = capital(run);
    match ending {
        Ending::PullRequest { url } => format!("{name} is already a pull request: {url}"),
        Ending::Pushed { branch } => format!("{name} is already pushed as `{branch}`."),
        Ending::RolledBack => format!("{name} was rolled back."),
        Ending::Parked { .. } => format!("{name} was parked; *resume {}* brings it back.", run.number()),
        Ending::Answered => format!("{name} changed no file."),
        Ending::Failed => format!("{name} failed."),
        Ending::Cancelled => format!("{name} was cancelled."),
    }
}

fn capital(run: &RunId) -> String {
    format!("Run {}", run.number())
}
