//! Cutting text to the lengths that the wire and a chat allow.

/// `text` without surrounding white space, cut to `chars_max` characters; the last of them is `…` when something was cut.
pub fn clip(text: &str, chars_max: usize) -> String {
    let text = text.trim();
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    clipped.push('…');
    clipped
}

/// The first line of `text` that says something, clipped.
pub fn first_line(text: &str, chars_max: usize) -> String {
    clip(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default(), chars_max)
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and ends at a character.
pub fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_says_so() {
        assert_eq!(clip(" four ", 4), "four");
        assert_eq!(clip("fünfe", 4), "fün…");
        assert_eq!(first_line("\n  one\ntwo", 10), "one");
        assert_eq!(first_line("", 10), "");
    }

    #[test]
    fn a_head_never_splits_a_character() {
        assert_eq!(head("aé", 2), "a");
        assert_eq!(head("aé", 3), "aé");
        assert_eq!(head("aé", 99), "aé");
    }
}
