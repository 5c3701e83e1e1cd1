//! The colours of code: which part of a line is a keyword, a text, a comment.
//!
//! A diff shows pieces of files. Each piece is read as if its file began there, once as it was before and once as it is after; a
//! text or comment that began further up is not known to be one.

use std::ops::Range;

use relay_core::protocol::review::Row;

use super::languages::{self, CONSTANTS, Language, Span};

/// Lines that are longer have no colours: data, or made by a program.
const LINE_BYTES_MAX: usize = 600;

/// A part of a line, and the class of its colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coloured {
    pub(super) range: Range<usize>,
    pub(super) class: &'static str,
}

/// The colours of each row of a file, in order and without overlaps.
pub(super) fn of(path: &str, rows: &[Row]) -> Vec<Vec<Coloured>> {
    let Some(language) = languages::of(path) else { return vec![Vec::new(); rows.len()] };
    let (mut before, mut after) = (Piece::new(language), Piece::new(language));
    let colours = rows.iter().map(|row| match row {
        Row::Hunk { .. } => {
            (before, after) = (Piece::new(language), Piece::new(language));
            Vec::new()
        }
        Row::Context { text, .. } => {
            before.read(text);
            after.read(text)
        }
        Row::Added { text, .. } => after.read(text),
        Row::Removed { text, .. } => before.read(text),
        Row::Note { .. } => Vec::new(),
    });
    colours.collect()
}

/// A piece of a file, read line by line.
struct Piece {
    language: &'static Language,
    /// What the line before has left open.
    within: Option<&'static Span>,
    /// In a language of tags, whether one is open.
    in_tag: bool,
}

impl Piece {
    fn new(language: &'static Language) -> Self {
        Self { language, within: None, in_tag: false }
    }

    fn read(&mut self, line: &str) -> Vec<Coloured> {
        if line.len() > LINE_BYTES_MAX {
            return Vec::new();
        }
        let mut colours: Vec<Coloured> = Vec::new();
        let mut at = 0;
        while at < line.len() {
            let (length, class) = self.next(line, at);
            if !class.is_empty() {
                colours.push(Coloured { range: at..at + length, class });
            }
            at += length;
        }
        // A text that was not closed in its line was none.
        self.within = self.within.filter(|span| span.lines);
        colours
    }

    /// How long the next piece of the line is, and its class; no class is no colour.
    fn next(&mut self, line: &str, at: usize) -> (usize, &'static str) {
        let rest = &line[at..];
        if let Some(span) = self.within {
            return (self.close(rest, 0, span), span.class);
        }
        let before = line[..at].chars().next_back();
        let sign = rest.chars().next().unwrap_or_default();
        // A hash is a part of some words.
        let is_comment =
            |open: &&&str| rest.starts_with(**open) && (**open != "#" || before.is_none_or(char::is_whitespace));
        if self.language.comments.iter().any(|open| is_comment(&open)) {
            return (rest.len(), "c");
        }
        if let Some(span) = self.language.spans.iter().find(|span| self.opens(rest, before, span)) {
            self.within = Some(span);
            let length = self.close(rest, span.open.len(), span);
            let is_key = span.class == "s" && self.is_key(&line[..at], &rest[length..]);
            return (length, if is_key { "t" } else { span.class });
        }
        if self.language.markup && matches!(sign, '<' | '>') {
            self.in_tag =
                sign == '<' && rest[1..].starts_with(|next: char| next.is_alphabetic() || "/!?".contains(next));
            return (sign.len_utf8(), "");
        }
        if is_word(sign) || "@#".contains(sign) {
            let first = if is_word(sign) { 0 } else { 1 };
            let length = first + word_end(&rest[first..]);
            return (length, self.word(line, at..at + length, before));
        }
        (sign.len_utf8(), "")
    }

    /// Up to where an open span goes, looking from `from` on; it is closed there, or goes on.
    fn close(&mut self, rest: &str, from: usize, span: &Span) -> usize {
        let mut at = from;
        while at < rest.len() {
            if rest[at..].starts_with(span.close) {
                self.within = None;
                return at + span.close.len();
            }
            let skip = if span.escapes && rest[at..].starts_with('\\') { 2 } else { 1 };
            at = rest.ceil_char_boundary((at + skip).min(rest.len()));
        }
        rest.len()
    }

    fn opens(&self, rest: &str, before: Option<char>, span: &Span) -> bool {
        if !rest.starts_with(span.open) {
            return false;
        }
        let is_text = span.class == "s";
        if self.language.markup && is_text {
            return self.in_tag;
        }
        // Neither a lifetime nor an apostrophe is a text.
        if span.open == "'" && self.language.lifetimes {
            let inner = &rest[1..];
            let is_sign = inner.starts_with('\\') || inner.chars().nth(1) == Some('\'');
            return is_sign;
        }
        !(span.open == "'" && before.is_some_and(|before| before.is_alphanumeric()) && self.language.key.is_some())
    }

    fn word(&self, line: &str, word: Range<usize>, before: Option<char>) -> &'static str {
        let (text, after) = (&line[word.clone()], &line[word.end..]);
        if self.language.markup {
            return match (self.in_tag, before) {
                (true, Some('<' | '/')) => "t",
                (true, _) if after.starts_with('=') => "f",
                _ => "",
            };
        }
        let lower = text.to_ascii_lowercase();
        let spelled = if self.language.any_case { lower.as_str() } else { text };
        if is_among(self.language.words, spelled) {
            return "k";
        }
        if text.starts_with(|sign: char| sign.is_ascii_digit()) || is_among(CONSTANTS, text) {
            return "n";
        }
        if self.is_key(&line[..word.start], after) {
            return "t";
        }
        if text.starts_with('@') || after.starts_with('(') || after.starts_with("!(") {
            return "f";
        }
        let is_kind = self.language.kinds && text.starts_with(|sign: char| sign.is_uppercase());
        if is_kind { "t" } else { "" }
    }

    /// Whether what stands between the two names a value.
    fn is_key(&self, before: &str, after: &str) -> bool {
        let Some(key) = self.language.key else { return false };
        before.trim_start_matches([' ', '\t', '-', '{', ',']).is_empty() && after.trim_start().starts_with(key)
    }
}

/// Words have spaces between them.
fn is_among(words: &str, word: &str) -> bool {
    words.split(' ').any(|one| one == word)
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// Where a word ends, or a number with its point.
fn word_end(rest: &str) -> usize {
    let is_number = rest.starts_with(|sign: char| sign.is_ascii_digit());
    let goes_on = |(at, sign): (usize, char)| {
        is_word(sign) || (is_number && sign == '.' && rest[at + 1..].starts_with(|next: char| next.is_ascii_digit()))
    };
    rest.char_indices().find(|&place| !goes_on(place)).map_or(rest.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coloured(path: &str, rows: &[Row]) -> Vec<Vec<(&'static str, String)>> {
        let colours = of(path, rows);
        let named = |(colours, row): (Vec<Coloured>, &Row)| {
            colours.into_iter().map(|c| (c.class, super::super::paint::text(row)[c.range].to_owned())).collect()
        };
        colours.into_iter().zip(rows).map(named).collect()
    }

    fn line(text: &str) -> Row {
        Row::Added { new: 1, text: text.to_owned() }
    }

    fn has(path: &str, text: &str, class: &str, part: &str) -> bool {
        coloured(path, &[line(text)])[0].iter().any(|(found, text)| *found == class && text.trim() == part)
    }

    #[test]
    fn the_languages_that_people_work_in_have_colours() {
        for (path, text, class, part) in [
            ("src/main.rs", "let a = \"x\"; // why", "c", "// why"),
            ("src/main.rs", "let a = \"x\";", "s", "\"x\""),
            ("a.py", "def add(a): return 1", "k", "def"),
            ("web/app.ts", "const a: string = 'x';", "s", "'x'"),
            ("web/app.tsx", "export const A = 1;", "n", "1"),
            ("Cargo.toml", "version = \"1\"", "s", "\"1\""),
            ("Dockerfile", "FROM debian", "k", "FROM"),
            ("x.json", "{\"a\": true}", "n", "true"),
            ("x.css", "a { color: red; } /* why */", "c", "/* why */"),
            ("x.go", "func main() {}", "k", "func"),
            ("x.sh", "# why", "c", "# why"),
            ("x.yaml", "a: 1 # why", "c", "# why"),
            ("x.sql", "SELECT 1 -- why", "c", "-- why"),
        ] {
            assert!(has(path, text, class, part), "{path}: {:?}", coloured(path, &[line(text)]));
        }
    }

    #[test]
    fn a_sign_that_is_no_quote_opens_nothing() {
        for (path, text) in [
            ("a.rs", "fn first<'a>(of: &'a str) {"),
            ("a.yaml", "it's: a note"),
            ("a.html", "<p>it's text</p>"),
            ("a.sh", "echo ${#list}"),
        ] {
            let coloured = coloured(path, &[line(text), line("true")]);
            assert!(!coloured.concat().iter().any(|(class, _)| matches!(*class, "s" | "c")), "{path}: {coloured:?}");
        }
    }

    #[test]
    fn what_is_no_known_code_has_none() {
        for path in ["notes", "a.unknown", "x.txt", "", "/"] {
            assert_eq!(coloured(path, &[line("let a = 1;")]), [vec![]], "{path}");
        }
    }

    #[test]
    fn before_and_after_are_read_apart() {
        let rows = [
            Row::Removed { old: 1, text: "/* opened and".to_owned() },
            Row::Added { new: 1, text: "let a = 1;".to_owned() },
            Row::Removed { old: 2, text: "closed */".to_owned() },
        ];
        let coloured = coloured("a.rs", &rows);
        assert_eq!(coloured[0], [("c", "/* opened and".to_owned())]);
        assert_eq!(coloured[1][0], ("k", "let".to_owned()));
        assert_eq!(coloured[2], [("c", "closed */".to_owned())]);
    }

    #[test]
    fn a_hunk_begins_anew() {
        let hunk = Row::Hunk { old: 9, new: 9, heading: String::new() };
        let rows = [line("/* never closed"), hunk, line("let a = 1;")];
        assert_eq!(coloured("a.rs", &rows)[2][0], ("k", "let".to_owned()));
    }

    #[test]
    fn lines_of_any_kind_are_survived() {
        let long = "\"".repeat(LINE_BYTES_MAX + 1);
        for text in ["", "\u{0}\u{1b}[31m\u{202e}", "é\"é", "((((((((((((((((((((((((((((((", "\\", long.as_str()] {
            for path in ["a.rs", "a.md", "a.html", "a.yaml", "a.js", "a.cpp"] {
                coloured(path, &[line(text), line(text)]);
            }
        }
    }
}
