//! Cutting text to the lengths that the wire and a chat allow.

pub use relay_core::signs::is_deceptive;

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

/// `bytes` as text in which every sign can be seen: what is no UTF-8, what controls a terminal, and what hides or turns around
/// other signs is written out.
pub fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                character if is_deceptive(character) => text.extend(character.escape_unicode()),
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The end of `text`, after a `…` when something was cut off before it.
pub fn clip_start(text: &str, chars_max: usize) -> String {
    match text.chars().count().checked_sub(chars_max) {
        None | Some(0) => text.to_owned(),
        Some(surplus) => std::iter::once('…').chain(text.chars().skip(surplus + 1)).collect(),
    }
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
    fn every_sign_of_a_name_can_be_seen() {
        assert_eq!(visible("ümläut 名前.txt".as_bytes()), "ümläut 名前.txt");
        assert_eq!(visible(b"a\nb\x1b[31m\0"), "a\\nb\\u{1b}[31m\\u{0}");
        assert_eq!(visible("x\u{202e}txt.exe\u{200b}".as_bytes()), "x\\u{202e}txt.exe\\u{200b}");
        assert_eq!(visible(b"latin\xe9"), "latin\\xe9");
        assert_eq!((clip_start("abcdef", 6), clip_start("abcdefg", 4)), ("abcdef".into(), "…efg".into()));
    }

    #[test]
    fn a_head_never_splits_a_character() {
        assert_eq!(head("aé", 2), "a");
        assert_eq!(head("aé", 3), "aé");
        assert_eq!(head("aé", 99), "aé");
    }
}
