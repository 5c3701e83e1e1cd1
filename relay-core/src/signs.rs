//! Signs of a text that must not be shown as they are where somebody decides on what they read.

/// Whether it is not seen, or makes others be read differently from what they are.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
        || matches!(character, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0e}' | '\u{feff}' | '\u{ffa0}')
        || matches!(character, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether it belongs to how its neighbours are written, in prose: what joins emoji, or letters of scripts that are written joined.
pub fn joins(before: Option<char>, character: char, after: Option<char>) -> bool {
    let is_seen = |other: char| !other.is_ascii() && !other.is_whitespace() && !is_deceptive(other);
    matches!(character, '\u{200c}' | '\u{200d}') && before.is_some_and(is_seen) && after.is_some_and(is_seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_joins_is_part_of_other_scripts_and_of_emoji_and_of_nothing_else() {
        let joins = |text: &str| {
            let mut signs = text.chars();
            joins(signs.next(), signs.next().unwrap(), signs.next())
        };
        for text in ["\u{1f468}\u{200d}\u{1f4bb}", "ی\u{200c}م", "\u{94d}\u{200d}क"] {
            assert!(joins(text), "{text:?}");
        }
        for text in ["y\u{200d}p", "é\u{200d}p", "é\u{200b}é", "é\u{200d}\u{200d}", "é\u{200d}", "é\u{200c}\u{3000}"]
        {
            assert!(!joins(text), "{text:?}");
        }
    }

    #[test]
    fn what_hides_or_turns_others_around_is_deceptive_and_letters_are_not() {
        for sign in
            ['\0', '\u{1b}', '\r', '\u{85}', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{e0041}']
        {
            assert!(is_deceptive(sign), "{sign:?}");
        }
        for sign in ['a', ' ', 'é', '名', 'ש', '👍', '\u{fe0f}', '…'] {
            assert!(!is_deceptive(sign), "{sign:?}");
        }
    }
}
