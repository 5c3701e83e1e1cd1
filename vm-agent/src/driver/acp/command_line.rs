//! How an agent is started, as an operator writes it: `OPENCODE_DISABLE_AUTOUPDATE=1 opencode acp`.

use std::ffi::OsString;
use std::path::PathBuf;

/// A program, its arguments, and what of its environment is set in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// `NAME=value`, as a shell takes it.
    pub env: Vec<(String, OsString)>,
    /// Looked up in the agent's `PATH` unless it holds a slash.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// Why a text is no command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCommandLine {
    /// No program is named.
    #[error("names no program; an agent is started by a command line, such as acp:opencode acp")]
    Empty,
    /// A quote has no end.
    #[error("has a quote without an end")]
    Unquoted,
}

impl CommandLine {
    /// Split at white space, with the quotes of a shell and nothing else of it.
    pub fn parse(text: &str) -> Result<Self, NoCommandLine> {
        let mut words = shell_words::split(text).map_err(|_| NoCommandLine::Unquoted)?.into_iter().peekable();
        let env = std::iter::from_fn(|| words.next_if(|word| assignment(word).is_some()));
        let env =
            env.filter_map(|word| assignment(&word).map(|(name, value)| (name.to_owned(), value.into()))).collect();
        let program = words.next().filter(|program| !program.is_empty()).ok_or(NoCommandLine::Empty)?;
        Ok(Self { env, program: program.into(), args: words.map(OsString::from).collect() })
    }
}

fn assignment(word: &str) -> Option<(&str, &str)> {
    let is_name = |name: &str| {
        let mut letters = name.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    };
    word.split_once('=').filter(|(name, _)| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        let line = CommandLine::parse(r#" A=1 B_2='{"x": "y z"}' agent --flag="two words" C=3 "#).unwrap();
        assert_eq!(line.program, PathBuf::from("agent"));
        assert_eq!(line.args, ["--flag=two words", "C=3"]);
        let env: Vec<_> = line.env.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(env, [("A", "1"), ("B_2", r#"{"x": "y z"}"#)]);
        assert_eq!(CommandLine::parse("/bin/a=b").unwrap().program, PathBuf::from("/bin/a=b"));
    }

    #[test]
    fn without_a_program_it_is_none() {
        for text in ["", "  ", "A=1", "''"] {
            assert_eq!(CommandLine::parse(text), Err(NoCommandLine::Empty), "{text:?}");
        }
        assert_eq!(CommandLine::parse("agent 'x"), Err(NoCommandLine::Unquoted));
    }
}
