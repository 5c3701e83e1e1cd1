//! Signs of a text that must not be shown as they are where somebody decides on what they read.

/// Whether it is not seen, or makes others be read differently from what they are.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
        || matches!(character, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0e}' | '\u{feff}' | '\u{ffa0}')
        || matches!(character, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

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
