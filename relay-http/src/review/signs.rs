//! What strangers wrote, as HTML in which every sign can be seen and none acts.

use maud::{Markup, PreEscaped};
use relay_core::signs::is_deceptive;

/// A name, a heading, a note.
pub(crate) fn shown(text: &str) -> Markup {
    let mut html = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '\t' => control(&mut html, sign),
            sign => push(&mut html, sign),
        }
    }
    PreEscaped(html)
}

/// A sign of a line of code, where a tab is one like others.
pub(crate) fn push(html: &mut String, sign: char) {
    match sign {
        '&' => html.push_str("&amp;"),
        '<' => html.push_str("&lt;"),
        '>' => html.push_str("&gt;"),
        '"' => html.push_str("&quot;"),
        '\'' => html.push_str("&#39;"),
        '\t' => html.push('\t'),
        '\0'..='\x1f' | '\x7f' => control(html, sign),
        sign if is_deceptive(sign) => {
            let code = code(sign);
            html.push_str("<b class=\"sign\">");
            html.push_str(&code);
            html.push_str("</b>");
        }
        sign => html.push(sign),
    }
}

/// As terminals show them: `^M` is a carriage return. Not every phone has Unicode's own pictures of them.
fn control(html: &mut String, sign: char) {
    html.push_str(&format!("<b class=\"sign\" title=\"{}\">^", code(sign)));
    push(html, char::from_u32(u32::from(sign) ^ 0x40).unwrap_or('?'));
    html.push_str("</b>");
}

fn code(sign: char) -> String {
    format!("U+{:04X}", u32::from(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_text() {
        assert_eq!(
            shown("</td><img src=x onerror='a'>&amp;\"").0,
            "&lt;/td&gt;&lt;img src=x onerror=&#39;a&#39;&gt;&amp;amp;&quot;"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_shown_and_does_not_act() {
        assert_eq!(shown("a\x1b[31m").0, "a<b class=\"sign\" title=\"U+001B\">^[</b>[31m");
        assert_eq!(
            shown("\r\x7f").0,
            "<b class=\"sign\" title=\"U+000D\">^M</b><b class=\"sign\" title=\"U+007F\">^?</b>"
        );
        assert_eq!(shown("x\u{202e}cod.exe").0, "x<b class=\"sign\">U+202E</b>cod.exe");
        assert_eq!(shown("\u{200b}\u{2066}\u{feff}").0.matches("class=\"sign\"").count(), 3);
    }

    #[test]
    fn a_tab_is_seen_in_a_name_and_is_a_tab_in_code() {
        assert!(shown("a\tb").0.contains(">^I</b>"));
        let mut code = String::new();
        push(&mut code, '\t');
        assert_eq!(code, "\t");
    }

    #[test]
    fn letters_of_all_scripts_stay_as_they_are() {
        assert_eq!(shown("é 名前 שלום 👍🏽 ❤️").0, "é 名前 שלום 👍🏽 ❤️");
    }
}
