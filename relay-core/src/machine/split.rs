//! Cuts a text into messages that a channel can carry: at paragraphs, else lines, else words, never inside a character.

/// Parts of `text`, none longer than `units_max` UTF-16 units. White space at the cuts is dropped; nothing else is.
pub fn split(text: &str, units_max: usize) -> Vec<String> {
    let units_max = units_max.max(2);
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let fits = fitting(rest, units_max);
        let cut = if fits == rest.len() { fits } else { best_cut(&rest[..fits]) };
        let part = rest[..cut].trim_end_matches([' ', '\n']);
        if !part.is_empty() {
            parts.push(part.to_owned());
        }
        rest = rest[cut..].trim_start_matches('\n');
    }
    parts
}

/// The start of `text` that fits into `units_max`, cut at the end of a line where there is one.
pub fn clip(text: &str, units_max: usize) -> &str {
    let fits = fitting(text, units_max);
    if fits == text.len() { text } else { &text[..best_cut(&text[..fits])] }
}

/// Length in UTF-16 units, as messaging providers count.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn fitting(text: &str, units_max: usize) -> usize {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += character.len_utf16();
        if used > units_max {
            return at;
        }
    }
    text.len()
}

fn best_cut(window: &str) -> usize {
    // A cut in the first half would make a needlessly short part.
    let half = window.len() / 2;
    ["\n\n", "\n", " "]
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
    fn cuts_fall_on_paragraphs_then_lines_then_words() {
        assert_eq!(split("one two\n\nthree four", 15), ["one two", "three four"]);
        assert_eq!(split("one two\nthree four", 12), ["one two", "three four"]);
        assert_eq!(split("one two three", 9), ["one two", "three"]);
        assert_eq!(split("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert!(split("", 10).is_empty());
    }

    proptest! {
        #[test]
        fn parts_fit_and_join_back(text in "[a-z 😀\n]{0,400}", units_max in 2usize..60) {
            let parts = split(&text, units_max);
            prop_assert!(parts.iter().all(|part| units(part) <= units_max));
            let squeeze = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(squeeze(&parts.concat()), squeeze(&text));
        }
    }
}
