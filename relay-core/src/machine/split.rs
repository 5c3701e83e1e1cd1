//! Cuts a text into messages that a channel can carry: at paragraphs, else lines, else words, never inside what a reader sees
//! as one character. A fence that is open at a cut is closed there and opened again in the next part.

use unicode_segmentation::UnicodeSegmentation;

const FENCE: &str = "```";
/// Opens a part that begins inside a fence.
const REOPEN: &str = "```\n";
/// Ends a part whose fence is open.
const CLOSE: &str = "\n```";
/// No part is asked to be shorter.
const UNITS_MIN: usize = 16;

/// What stands between two words of a line is narrower than this.
const GAP: &str = "     ";

/// Whether `text` is one line, without tabs and wide gaps: what Twilio takes as a variable of a template (error 21656).
pub fn is_line(text: &str) -> bool {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    !text.trim().is_empty() && !text.contains(breaks) && !text.contains(GAP)
}

/// Parts of `text`, none longer than `units_max` UTF-16 units. White space at the cuts is dropped; nothing else is.
pub fn split(text: &str, units_max: usize) -> Vec<String> {
    parts(text, units_max).collect()
}

/// The same, one after the other.
pub fn parts(text: &str, units_max: usize) -> impl Iterator<Item = String> {
    let mut rest = Rest { text, is_open: false };
    std::iter::from_fn(move || rest.next_part(units_max.max(UNITS_MIN)))
}

/// The first part of `text`.
pub fn head(text: &str, units_max: usize) -> String {
    Rest { text, is_open: false }.next_part(units_max.max(UNITS_MIN)).unwrap_or_default()
}

/// The end of `text`, from the beginning of a paragraph or line on where there is one.
pub fn tail(text: &str, units_max: usize) -> String {
    let room = units_max.max(UNITS_MIN) - units(REOPEN) - units(CLOSE);
    let mut start = text.len();
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true).rev() {
        used += units(grapheme);
        if used > room {
            break;
        }
        start = at;
    }
    let window = &text[start..];
    let begin = ["\n\n", "\n", " "]
        .iter()
        .filter_map(|border| window.find(border).map(|at| at + border.len()))
        .find(|&at| at < window.len() / 2)
        .filter(|_| start > 0)
        .unwrap_or(0);
    let (before, end) = text.split_at(start + begin);
    let starts_open = is_odd(before);
    let prefix = if starts_open { REOPEN } else { "" };
    let suffix = if starts_open != is_odd(end) { CLOSE } else { "" };
    format!("{prefix}{}{suffix}", end.trim_end())
}

/// The start of `text` that fits into `units_max`, cut at the end of a line where there is one.
pub fn clip(text: &str, units_max: usize) -> &str {
    let fits = fitting(text, units_max);
    if fits == text.len() { text } else { &text[..best_cut(&text[..fits], &["\n\n", "\n", " "])] }
}

/// Length in UTF-16 units, as messaging providers count.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// What is not in a part yet, and whether it begins inside a fence.
struct Rest<'a> {
    text: &'a str,
    is_open: bool,
}

impl Rest<'_> {
    fn next_part(&mut self, units_max: usize) -> Option<String> {
        loop {
            if self.text.trim().is_empty() {
                return None;
            }
            let prefix = if self.is_open { REOPEN } else { "" };
            let cut = self.cut(units_max - units(prefix));
            let (chunk, after) = self.text.split_at(cut);
            let is_open = self.is_open != is_odd(chunk);
            let body = if is_open { chunk.trim_end_matches('\n') } else { chunk.trim_end() };
            let part = format!("{prefix}{body}{}", if is_open { CLOSE } else { "" });
            self.text = if is_open { after } else { after.trim_start_matches('\n') };
            self.is_open = is_open;
            // A fence that was to be closed right here is closed already.
            if let Some(rest) = self.text.trim_start_matches('\n').strip_prefix(FENCE).filter(|_| is_open) {
                self.text = rest.trim_start_matches('\n');
                self.is_open = false;
            }
            if !body.trim().is_empty() {
                return Some(part);
            }
        }
    }

    /// Where the next part ends, so that it fits with the end of its fence.
    fn cut(&self, room: usize) -> usize {
        // Only what may be all of it is looked through to its end.
        if fitting(self.text, room) == self.text.len() {
            let needs_close = self.is_open != is_odd(self.text);
            if units(self.text) + if needs_close { units(CLOSE) } else { 0 } <= room {
                return self.text.len();
            }
        }
        let fits = fitting(self.text, room - units(CLOSE));
        let window = before_fence_end(&self.text[..fits], self.text);
        let is_open = self.is_open != is_odd(window);
        let cut = best_cut(window, if is_open { &["\n", " "] } else { &["\n\n", "\n", " "] });
        // A fence is not opened for nothing.
        let chunk = self.text[..cut].trim_end();
        match chunk.strip_suffix(FENCE) {
            Some(before) if self.is_open == is_odd(before) && self.is_open != is_odd(chunk) && !self.is_open => {
                if before.trim().is_empty() {
                    cut
                } else {
                    before.len()
                }
            }
            _ => cut,
        }
    }
}

/// `window`, which begins `text`, without a run of backticks that it cuts in two.
fn before_fence_end<'a>(window: &'a str, text: &str) -> &'a str {
    let is_cut = window.ends_with('`') && text[window.len()..].starts_with('`');
    let shorter = if is_cut { window.trim_end_matches('`') } else { window };
    if shorter.is_empty() { window } else { shorter }
}

fn is_odd(text: &str) -> bool {
    text.matches(FENCE).count() % 2 == 1
}

/// How much of `text` fits, whole characters as a reader sees them where that is possible.
fn fitting(text: &str, units_max: usize) -> usize {
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        used += units(grapheme);
        if used > units_max {
            return if at > 0 { at } else { fitting_chars(text, units_max) };
        }
    }
    text.len()
}

/// The same for a single character that is longer than a message.
fn fitting_chars(text: &str, units_max: usize) -> usize {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += character.len_utf16();
        if used > units_max {
            return at;
        }
    }
    text.len()
}

fn best_cut(window: &str, borders: &[&str]) -> usize {
    // A cut in the first half would make a needlessly short part.
    let half = window.len() / 2;
    borders
        .iter()
        .filter_map(|border| window.rfind(border).map(|at| at + border.len()))
        .find(|&cut| cut > half)
        .unwrap_or(window.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_has_no_breaks_no_tabs_and_no_wide_gaps() {
        assert!(is_line("What becomes of run 1?") && is_line("a    b"));
        for text in ["", " ", "a\nb", "a\r", "a\tb", "a     b", "a\u{2028}b", "a\u{85}b"] {
            assert!(!is_line(text), "{text:?}");
        }
    }

    #[test]
    fn cuts_fall_on_paragraphs_then_lines_then_words() {
        assert_eq!(
            split("one two three four\n\nfive six seven eight", 30),
            ["one two three four", "five six seven eight"]
        );
        assert_eq!(
            split("one two three four\nfive six seven eight", 30),
            ["one two three four", "five six seven eight"]
        );
        assert_eq!(split("one two three four five six", 20), ["one two three", "four five six"]);
        assert_eq!(split("abcdefghijklmnopqrstuvwxyz", 20), ["abcdefghijklmnop", "qrstuvwxyz"]);
        assert!(split("", 20).is_empty() && split(" \n ", 20).is_empty());
    }

    #[test]
    fn a_fence_is_closed_at_a_cut_and_opened_again() {
        let text = "Look:\n```\nfirst line\n    second line\nthird\n```\nDone.";
        assert_eq!(split(text, 32), ["Look:\n```\nfirst line\n```", "```\n    second line\nthird\n```", "Done."],);
        assert_eq!(split("A paragraph here\n```\ncode that is long enough\n```", 32)[0], "A paragraph here");
    }

    #[test]
    fn a_character_made_of_several_stays_whole() {
        let family = "👨‍👩‍👧‍👦";
        for part in split(&family.repeat(20), 40) {
            assert_eq!(part.replace(family, ""), "");
        }
    }

    #[test]
    fn the_end_begins_at_a_paragraph_or_a_line() {
        let text = "a long beginning of it all\n\n```\none\ntwo\nthree\n```\nThe end.";
        assert_eq!(tail(text, 36), "```\none\ntwo\nthree\n```\nThe end.");
        assert_eq!(tail("short", 100), "short");
    }

    fn without_fences(text: &str) -> String {
        text.replace(FENCE, "").split_whitespace().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn parts_fit_close_their_fences_and_join_back(
            pieces in proptest::collection::vec(
                prop_oneof![
                    4 => "[a-z]{1,12}",
                    2 => Just(" ".to_owned()),
                    2 => Just("\n".to_owned()),
                    1 => Just("\n\n".to_owned()),
                    1 => Just("\n```\n".to_owned()),
                    1 => Just("👨‍👩‍👧‍👦".to_owned()),
                    1 => Just("e\u{301}".to_owned()),
                ],
                0..120,
            ),
            units_max in 40usize..120,
        ) {
            let text = pieces.concat();
            let parts = split(&text, units_max);
            for part in &parts {
                prop_assert!(units(part) <= units_max, "{part:?}");
                prop_assert!(!is_odd(part), "{part:?} leaves a fence open");
                prop_assert!(!part.trim().is_empty());
            }
            prop_assert_eq!(without_fences(&parts.concat()), without_fences(&text));
            let graphemes: Vec<&str> = text.graphemes(true).filter(|one| !one.trim().is_empty() && *one != "`").collect();
            let kept: Vec<String> = parts.iter().flat_map(|part| {
                part.graphemes(true).filter(|one| !one.trim().is_empty() && *one != "`").map(str::to_owned).collect::<Vec<_>>()
            }).collect();
            prop_assert_eq!(kept, graphemes);
            let end = tail(&text, units_max);
            prop_assert!(units(&end) <= units_max && !is_odd(&end), "{end:?}");
        }
    }
}
