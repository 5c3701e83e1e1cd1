//! The words of the chat. A word counts only when it is the whole message; anything else goes to the agent unchanged.

use crate::id::{RunId, TreeHash};
use crate::machine::conversation::Verbosity;
use crate::protocol::Decision;

/// What a person asks the relay itself to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// `approve`, `a`
    Approve,
    /// `reject`, `r`
    Reject,
    /// `cancel`, `c`
    Cancel,
    /// `status`
    Status,
    /// `queue`
    Queue,
    /// `drop N`: the Nth waiting message
    Drop(usize),
    /// `diff`
    Diff,
    /// `show FILE`
    Show(String),
    /// `resume RUN`: the number of a parked run
    Resume(u64),
    /// `clear`
    Clear,
    /// `repos`
    Repos,
    /// `clone URL`
    Clone(String),
    /// `switch NAME`
    Switch(String),
    /// `branch`
    Branch,
    /// `checkout [-b] NAME`
    Checkout {
        /// The branch.
        name: String,
        /// Make it first.
        create: bool,
    },
    /// `quiet`, `normal`, `verbose`
    Verbosity(Verbosity),
    /// `help`
    Help,
}

impl Word {
    /// The word that `text` is, if the whole of it is one. Case and surrounding white space do not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (first, rest) = parts.split_first()?;
        Some(match (first.to_lowercase().as_str(), rest) {
            ("approve" | "a", []) => Self::Approve,
            ("reject" | "r", []) => Self::Reject,
            ("cancel" | "c", []) => Self::Cancel,
            ("status", []) => Self::Status,
            ("queue", []) => Self::Queue,
            ("drop", [position]) => Self::Drop(position.parse().ok()?),
            ("diff", []) => Self::Diff,
            // What the button says.
            ("show", [diff]) if diff.eq_ignore_ascii_case("diff") => Self::Diff,
            ("show", [file]) => Self::Show((*file).to_owned()),
            ("resume", [run]) => Self::Resume(run.parse().ok()?),
            ("clear", []) => Self::Clear,
            ("repos", []) => Self::Repos,
            ("clone", [url]) => Self::Clone((*url).to_owned()),
            ("switch", [name]) => Self::Switch((*name).to_owned()),
            ("branch", []) => Self::Branch,
            ("checkout", ["-b", name]) => Self::Checkout { name: (*name).to_owned(), create: true },
            ("checkout", [name]) => Self::Checkout { name: (*name).to_owned(), create: false },
            ("quiet", []) => Self::Verbosity(Verbosity::Quiet),
            ("normal", []) => Self::Verbosity(Verbosity::Normal),
            ("verbose", []) => Self::Verbosity(Verbosity::Verbose),
            ("help", []) => Self::Help,
            _ => return None,
        })
    }
}

/// What a button's payload stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// A decision on one exact diff.
    Decision {
        /// Which decision.
        decision: Decision,
        /// Whose diff.
        run: RunId,
        /// Which diff.
        tree: TreeHash,
    },
    /// A reply to one exact inquiry.
    Reply {
        /// Whose agent has asked.
        run: RunId,
        /// Which inquiry.
        number: u32,
        /// Which of its options, from 1.
        option: usize,
    },
    /// A button that stands for a word.
    Word(Word),
}

impl Pressed {
    /// Read a payload; `None` when no button of ours has it.
    pub fn parse(payload: &str) -> Option<Self> {
        let mut fields = payload.splitn(3, ':');
        let word = fields.next()?;
        let Some(run) = fields.next() else {
            return Word::parse(payload).map(Self::Word);
        };
        let (run, rest) = (RunId::parse(run).ok()?, fields.next()?);
        let decision = match word {
            "approve" => Decision::Approve,
            "reject" => Decision::Reject,
            "reply" => {
                let (number, option) = rest.split_once(':')?;
                return Some(Self::Reply { run, number: number.parse().ok()?, option: option.parse().ok()? });
            }
            _ => return None,
        };
        Some(Self::Decision { decision, run, tree: TreeHash::parse(rest).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::effect::Asked;

    #[test]
    fn words_count_only_as_the_whole_message() {
        let words = [
            ("approve", Word::Approve),
            ("  A \n", Word::Approve),
            ("Reject", Word::Reject),
            ("r", Word::Reject),
            ("CANCEL", Word::Cancel),
            ("c", Word::Cancel),
            ("drop 2", Word::Drop(2)),
            ("show src/main.rs", Word::Show("src/main.rs".into())),
            ("resume 7", Word::Resume(7)),
            ("clone https://github.com/o/r", Word::Clone("https://github.com/o/r".into())),
            ("checkout main", Word::Checkout { name: "main".into(), create: false }),
            ("checkout -b Fix/It", Word::Checkout { name: "Fix/It".into(), create: true }),
            ("quiet", Word::Verbosity(Verbosity::Quiet)),
            ("Normal", Word::Verbosity(Verbosity::Normal)),
            (" VERBOSE ", Word::Verbosity(Verbosity::Verbose)),
            ("help", Word::Help),
        ];
        for (text, word) in words {
            assert_eq!(Word::parse(text), Some(word), "{text:?}");
        }
        for text in [
            "",
            "👍",
            "approve the change in main.rs",
            "a b",
            "drop it",
            "status of the build?",
            "show me the login page",
            "resume work",
            "cancelled",
            "quiet please",
            "normalize",
            "verbose logging",
        ] {
            assert_eq!(Word::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_button_names_its_diff_or_its_inquiry() {
        let pressed = Pressed::parse("approve:abc-3:00ff").unwrap();
        assert_eq!(
            pressed,
            Pressed::Decision {
                decision: Decision::Approve,
                run: RunId::parse("abc-3").unwrap(),
                tree: TreeHash::parse("00ff").unwrap()
            }
        );
        assert_eq!(Pressed::parse("cancel"), Some(Pressed::Word(Word::Cancel)));
        let asked = Asked { run: RunId::parse("abc-3").unwrap(), number: 2, labels: vec!["Red".into()] };
        let reply = Pressed::Reply { run: asked.run.clone(), number: 2, option: 1 };
        assert_eq!(Pressed::parse(&asked.payload(1)), Some(reply));
        for payload in [
            "",
            "approve:abc-3",
            "delete:abc-3:00ff",
            "approve:../x:00ff",
            "approve:abc-3:zz",
            "hello there",
            "reply:abc-3:2",
            "reply:abc-3:2:",
            "reply:abc-3:-1:1",
            "reply:abc-3:2:1:1",
        ] {
            assert_eq!(Pressed::parse(payload), None, "{payload:?}");
        }
    }
}
