//! The log of a conversation: what happened in it, for whoever looks on. An entry is made where the machine decides, so that it is
//! made once and in order; the store appends it with the very commit that it belongs to.
//!
//! The entries of a run begin with [`LogWhat::Begun`] and end with [`LogWhat::Ended`]; after that none is of that run.

use serde::{Deserialize, Serialize};

use crate::id::{BlobId, RunId, TreeHash};
use crate::machine::event::Content;
use crate::machine::words::Pressed;
use crate::machine::{Ending, RunLink, Say, Step};
use crate::protocol::{Decision, DiffStat};
use crate::store::LOG_KEEP;

/// Characters of a text in the log at most.
pub const LOG_TEXT_CHARS_MAX: usize = 2_000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The run that went on, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What happened.
    #[serde(flatten)]
    pub what: LogWhat,
}

/// What can happen. Texts are cut at [`LOG_TEXT_CHARS_MAX`]; those for people have the markup of the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum LogWhat {
    /// The person wrote, or pressed a button.
    Asked {
        /// What they wrote; of a button, the word that it stands for.
        text: String,
    },
    /// Something was said to the person.
    Said {
        /// All of it, however many messages it takes.
        text: String,
    },
    /// The run was begun.
    Begun {
        /// What it is for, in a few words.
        task: String,
    },
    /// Its agent is up.
    Started {
        /// The driver.
        driver: String,
    },
    /// The agent said or did something.
    Progress {
        /// One line or paragraph.
        text: String,
    },
    /// A picture was shown.
    Picture {
        /// Where it is, until it expires.
        blob: BlobId,
        /// May be empty.
        caption: String,
        /// True when that is a document to be opened, and no picture.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        document: bool,
    },
    /// The agent asked the person something.
    Inquiry {
        /// The question with its options.
        text: String,
    },
    /// A diff waits for a decision.
    Changes {
        /// What it touches.
        stat: DiffStat,
        /// The state of the files that it leads to.
        tree: TreeHash,
    },
    /// A decision is being carried out.
    Decided {
        /// Which.
        decision: Decision,
    },
    /// The run is over.
    Ended {
        /// How.
        ending: Ending,
    },
    /// An operator did something.
    Operator {
        /// What, in a word.
        action: String,
    },
    /// Something that only a newer program knows.
    #[serde(other)]
    Unknown,
}

impl LogEntry {
    /// An entry with its texts cut.
    pub fn new(run: Option<RunId>, mut what: LogWhat) -> Self {
        match &mut what {
            LogWhat::Asked { text }
            | LogWhat::Said { text }
            | LogWhat::Begun { task: text }
            | LogWhat::Started { driver: text }
            | LogWhat::Progress { text }
            | LogWhat::Picture { caption: text, .. }
            | LogWhat::Inquiry { text }
            | LogWhat::Operator { action: text }
            | LogWhat::Ended {
                ending:
                    Ending::PullRequest { url: text } | Ending::Pushed { branch: text } | Ending::Parked { branch: text },
            } => cut(text),
            LogWhat::Changes { .. } | LogWhat::Decided { .. } | LogWhat::Ended { .. } | LogWhat::Unknown => {}
        }
        Self { run, what }
    }
}

/// Shorten a text that is too long; it ends with `…` then.
fn cut(text: &mut String) {
    if text.chars().nth(LOG_TEXT_CHARS_MAX).is_some() {
        let end = text.char_indices().nth(LOG_TEXT_CHARS_MAX - 1).map_or(0, |(at, _)| at);
        text.truncate(end);
        text.push('…');
    }
}

/// A message in words. Buttons are told by what one would type instead of pressing them: their payloads are for programs.
fn words(content: &Content) -> String {
    match content {
        Content::Text { text } => text.clone(),
        Content::Button { payload } => match Pressed::parse(payload) {
            Some(Pressed::Decision { decision: Decision::Approve, .. }) => "approve".to_owned(),
            Some(Pressed::Decision { decision: Decision::Reject | Decision::Park, .. }) => "reject".to_owned(),
            Some(Pressed::Reply { option, .. }) => option.to_string(),
            Some(Pressed::Word(_)) => payload.clone(),
            None => String::new(),
        },
        Content::Files { text, files } => match (text.trim(), files.len()) {
            ("", 1) => "(a file)".to_owned(),
            ("", count) => format!("({count} files)"),
            (text, 1) => format!("{text} (with a file)"),
            (text, count) => format!("{text} (with {count} files)"),
        },
        Content::Unsupported { what } => format!("({what})"),
    }
}

impl Step<'_> {
    /// Tell those who look on, once.
    pub(super) fn log(&mut self, what: LogWhat) {
        let run = self.conversation.run().cloned();
        self.log.push(LogEntry::new(run, what));
    }

    /// The person wrote.
    pub(super) fn log_asked(&mut self, content: &Content) {
        self.log(LogWhat::Asked { text: words(content) });
    }

    /// A picture of a run is here, which may be over by now.
    pub(super) fn log_picture(&mut self, run: &RunId, blob: &BlobId, caption: &str) {
        let run = self.conversation.run().filter(|current| *current == run).cloned();
        let what = LogWhat::Picture { blob: blob.clone(), caption: caption.to_owned(), document: false };
        self.log.push(LogEntry::new(run, what));
    }

    /// What opens the page of the run that goes on, for as long as its log is kept.
    pub(super) fn run_link(&self) -> Option<RunLink> {
        let expires_at = self.now + LOG_KEEP;
        self.conversation.run().map(|run| RunLink { run: run.clone(), expires_at })
    }

    /// Something is said to the person. An inquiry was told when the agent asked it, and may have to be said again.
    pub(super) fn log_said(&mut self, say: &Say) {
        match &say.picture {
            Some(blob) => {
                let (blob, caption, document) = (blob.clone(), say.text.clone(), say.document);
                self.log(LogWhat::Picture { blob, caption, document });
            }
            None if say.asked.is_none() => self.log(LogWhat::Said { text: say.text.clone() }),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let whole = "ä".repeat(LOG_TEXT_CHARS_MAX);
        let told = |text: &str| match LogEntry::new(None, LogWhat::Said { text: text.to_owned() }).what {
            LogWhat::Said { text } => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&whole), whole);
        let longer = told(&format!("{whole}!"));
        assert!(longer.chars().count() == LOG_TEXT_CHARS_MAX && longer.ends_with("ä…"));
        let ending = Ending::Pushed { branch: "b".repeat(5_000) };
        let LogWhat::Ended { ending: Ending::Pushed { branch } } = LogEntry::new(None, LogWhat::Ended { ending }).what
        else {
            panic!("still what it was");
        };
        assert_eq!(branch.chars().count(), LOG_TEXT_CHARS_MAX);
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_one_of_a_newer_program_is_not_lost() {
        let run = RunId::parse("c0ffee-1-2").unwrap();
        for what in [
            LogWhat::Asked { text: "hi".into() },
            LogWhat::Changes { stat: DiffStat::default(), tree: TreeHash::parse("aa11").unwrap() },
            LogWhat::Ended { ending: Ending::Parked { branch: "b".into() } },
            LogWhat::Decided { decision: Decision::Park },
        ] {
            let entry = LogEntry::new(Some(run.clone()), what);
            let written = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<LogEntry>(&written).unwrap(), entry, "{written}");
        }
        let newer = json!({"run": run, "what": "of_tomorrow", "text": "x"});
        let read: LogEntry = serde_json::from_value(newer).unwrap();
        assert_eq!(read, LogEntry { run: Some(run), what: LogWhat::Unknown });
    }
}
