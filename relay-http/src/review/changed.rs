//! Which words of a line have changed, where a line took the place of another.

use std::ops::Range;
use std::time::Instant;

use relay_core::protocol::review::Row;
use similar::{Algorithm, DiffTag, capture_diff_slices_deadline};

/// Lines that are longer are not compared word by word.
const LINE_BYTES_MAX: usize = 600;
/// Of two lines that have less than this part in common, one is not the other one changed.
const KEPT_PART_MIN: usize = 3;

/// Bytes of a line, in order.
pub(super) type Ranges = Vec<Range<usize>>;

/// For each row, which of its bytes have changed. After `until` nothing more is compared.
pub(super) fn words(rows: &[Row], until: Instant) -> Vec<Ranges> {
    let mut changed = vec![Vec::new(); rows.len()];
    let mut at = 0;
    while at < rows.len() {
        let removed = rows[at..].iter().take_while(|row| matches!(row, Row::Removed { .. })).count();
        let added = rows[at + removed..].iter().take_while(|row| matches!(row, Row::Added { .. })).count();
        for pair in 0..removed.min(added) {
            let (old, new) = (at + pair, at + removed + pair);
            if let (Row::Removed { text: before, .. }, Row::Added { text: after, .. }) = (&rows[old], &rows[new])
                && let Some((gone, come)) = between(before, after, until)
            {
                (changed[old], changed[new]) = (gone, come);
            }
        }
        at += (removed + added).max(1);
    }
    changed
}

/// What is gone of `old`, and what has come into `new`; `None` when they have too little in common.
fn between(old: &str, new: &str, until: Instant) -> Option<(Ranges, Ranges)> {
    if old.len().max(new.len()) > LINE_BYTES_MAX || Instant::now() >= until {
        return None;
    }
    let (before, after) = (tokens(old), tokens(new));
    let operations = capture_diff_slices_deadline(Algorithm::Myers, &before, &after, Some(until));
    let mut kept = 0;
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    let (mut in_old, mut in_new) = (Places::default(), Places::default());
    for operation in operations {
        let old = in_old.advance(&before[operation.old_range()]);
        let new = in_new.advance(&after[operation.new_range()]);
        match operation.tag() {
            DiffTag::Equal => kept += signs(&before[operation.old_range()]),
            _ => {
                gone.extend((!old.is_empty()).then_some(old));
                come.extend((!new.is_empty()).then_some(new));
            }
        }
    }
    let longer = signs(&before).max(signs(&after));
    (kept * KEPT_PART_MIN >= longer && kept > 0).then_some((gone, come))
}

/// How far one is in a line.
#[derive(Default)]
struct Places {
    at: usize,
}

impl Places {
    fn advance(&mut self, tokens: &[&str]) -> Range<usize> {
        let start = self.at;
        self.at += tokens.iter().map(|token| token.len()).sum::<usize>();
        start..self.at
    }
}

/// Signs that are no white space.
fn signs(tokens: &[&str]) -> usize {
    tokens.iter().map(|token| token.trim().len()).sum()
}

/// Words, stretches of white space, and every other sign by itself.
fn tokens(line: &str) -> Vec<&str> {
    let kind = |sign: char| match sign {
        sign if sign.is_alphanumeric() || sign == '_' => 0,
        sign if sign.is_whitespace() => 1,
        _ => 2,
    };
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut before: Option<u8> = None;
    for (at, sign) in line.char_indices() {
        let kind = kind(sign);
        if before.is_some_and(|before| before != kind || kind == 2) {
            tokens.push(&line[start..at]);
            start = at;
        }
        before = Some(kind);
    }
    if start < line.len() {
        tokens.push(&line[start..]);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn removed(text: &str) -> Row {
        Row::Removed { old: 1, text: text.to_owned() }
    }

    fn added(text: &str) -> Row {
        Row::Added { new: 1, text: text.to_owned() }
    }

    fn marked(rows: &[Row]) -> Vec<Vec<&str>> {
        words(rows, soon())
            .into_iter()
            .zip(rows)
            .map(|(ranges, row)| match row {
                Row::Removed { text, .. } | Row::Added { text, .. } => {
                    ranges.into_iter().map(|range| &text[range]).collect()
                }
                _ => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn the_words_that_differ_are_found() {
        let rows = [removed("let total = price * 2;"), added("let total = price * count;")];
        assert_eq!(marked(&rows), [vec!["2"], vec!["count"]]);
    }

    #[test]
    fn a_block_of_lines_is_compared_line_by_line() {
        let rows = [
            removed("alpha one two three"),
            removed("beta one two three"),
            added("alpha one two four"),
            added("beta one five three"),
            added("something else entirely"),
        ];
        assert_eq!(marked(&rows), [vec!["three"], vec!["two"], vec!["four"], vec!["five"], vec![]]);
    }

    #[test]
    fn lines_with_nothing_in_common_are_not_marked() {
        assert_eq!(marked(&[removed("return None;"), added("for item in basket {")]), [vec![] as Vec<&str>, vec![]]);
        assert_eq!(marked(&[removed("{"), added("    ")]), [vec![] as Vec<&str>, vec![]]);
    }

    #[test]
    fn what_lies_between_is_nobodys_change() {
        let context = Row::Context { old: 1, new: 1, text: "same".to_owned() };
        let rows = [removed("one two three"), context, added("one two four")];
        assert!(marked(&rows).concat().is_empty());
    }

    #[test]
    fn signs_of_several_bytes_are_never_split() {
        assert_eq!(marked(&[removed("größe = „klein“"), added("größe = „groß“")]), [vec!["klein"], vec!["groß"]]);
    }

    #[test]
    fn long_lines_and_late_ones_are_left_alone() {
        let long = "word ".repeat(200);
        assert!(marked(&[removed(&long), added(&format!("{long}more"))]).concat().is_empty());
        let rows = [removed("a b c d"), added("a b c e")];
        assert!(words(&rows, Instant::now()).concat().is_empty());
    }
}
