//! Texts with the markup of chats, as HTML: `*bold*`, `_italic_`, `~struck~`, code, and addresses that can be followed. All else
//! is shown as it was written, every sign to be seen and none acting.

use maud::{Markup, PreEscaped};

use relay_core::signs::joins;

use crate::review::signs::push;

const FENCE: &str = "```";
/// Marks inside of marks that are read; those further in are shown.
const DEPTH_MAX: usize = 3;
/// What ends a sentence or a mark, and no address.
const TRAILING: [char; 13] = ['.', ',', ';', ':', '!', '?', '\'', '*', '_', '~', ']', '}', ')'];

/// `text` in paragraphs and blocks of code.
pub(super) fn shown(text: &str) -> Markup {
    let mut html = String::with_capacity(text.len() + 64);
    // What is between fences is at the odd places; a text may have been cut inside of one.
    for (at, piece) in text.split(FENCE).enumerate() {
        if at % 2 == 1 {
            let code = piece.strip_prefix('\n').unwrap_or(piece);
            html.push_str("<pre>");
            plain(&mut html, code.strip_suffix('\n').unwrap_or(code));
            html.push_str("</pre>");
            continue;
        }
        for paragraph in piece.split("\n\n").map(|paragraph| paragraph.trim_matches('\n')) {
            if !paragraph.trim().is_empty() {
                html.push_str("<p dir=\"auto\">");
                for (number, line) in paragraph.split('\n').enumerate() {
                    if number > 0 {
                        html.push('\n');
                    }
                    inline(&mut html, line, 0);
                }
                html.push_str("</p>");
            }
        }
    }
    PreEscaped(html)
}

/// As it was written, in its lines.
pub(super) fn plain(html: &mut String, text: &str) {
    for sign in text.chars() {
        match sign {
            '\n' => html.push(sign),
            sign => push(html, sign),
        }
    }
}

/// One line, or what is between two marks of it.
fn inline(html: &mut String, line: &str, depth: usize) {
    let (mut rest, mut before) = (line, None);
    // Marks of which there is no other one further on: a line of a thousand lone ones is read once.
    let mut alone: Vec<char> = Vec::new();
    while let Some(sign) = rest.chars().next() {
        let piece = match sign {
            '`' => code(rest),
            'h' => address(rest, before),
            '*' | '_' | '~' if depth < DEPTH_MAX && !alone.contains(&sign) => marked(rest, before, sign, &mut alone),
            _ => None,
        };
        let length = match piece {
            Some(Piece::Code(code)) => {
                html.push_str("<code>");
                plain(html, code);
                html.push_str("</code>");
                code.len() + 2
            }
            Some(Piece::Address(address)) => {
                html.push_str("<a rel=\"noreferrer noopener\" href=\"");
                plain(html, address);
                html.push_str("\">");
                plain(html, address);
                html.push_str("</a>");
                address.len()
            }
            Some(Piece::Marked(tag, inner)) => {
                html.push_str(&format!("<{tag}>"));
                inline(html, inner, depth + 1);
                html.push_str(&format!("</{tag}>"));
                inner.len() + 2
            }
            None => {
                let length = sign.len_utf8();
                if joins(before, sign, rest[length..].chars().next()) {
                    html.push(sign)
                } else {
                    push(html, sign)
                }
                length
            }
        };
        before = rest[..length].chars().next_back();
        rest = &rest[length..];
    }
}

enum Piece<'a> {
    Code(&'a str),
    Address(&'a str),
    /// Inside of this element.
    Marked(&'static str, &'a str),
}

fn code(rest: &str) -> Option<Piece<'_>> {
    let (code, _) = rest[1..].split_once('`')?;
    (!code.is_empty()).then_some(Piece::Code(code))
}

/// An address, all of it of signs that look like nothing else.
fn address(rest: &str, before: Option<char>) -> Option<Piece<'_>> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| rest.starts_with(scheme))?;
    let is_of_one = |sign: char| sign.is_ascii_graphic() && !matches!(sign, '<' | '>' | '"' | '`' | '\\');
    let (whole, after) = rest.split_at(rest.find(|sign| !is_of_one(sign)).unwrap_or(rest.len()));
    let has_bracket = whole.contains('(');
    let address = whole.trim_end_matches(|sign| TRAILING.contains(&sign) && !(has_bracket && sign == ')'));
    // The half of one leads elsewhere.
    let is_whole = !before.is_some_and(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
    (is_whole && address.len() > scheme.len()).then_some(Piece::Address(address))
}

/// What is between two equal marks that hug it and touch no word outside: `snake_case` stays as it is.
fn marked<'a>(rest: &'a str, before: Option<char>, mark: char, alone: &mut Vec<char>) -> Option<Piece<'a>> {
    let inside = &rest[1..];
    let opens = !before.is_some_and(|sign| sign.is_alphanumeric() || sign == mark)
        && inside.starts_with(|sign: char| !sign.is_whitespace() && sign != mark);
    if !opens {
        return None;
    }
    let closes = |at: &usize| {
        let (within, after) = (&inside[..*at], &inside[at + 1..]);
        !within.ends_with(|sign: char| sign.is_whitespace() || sign == mark)
            && !after.starts_with(|sign: char| sign.is_alphanumeric() || sign == mark)
    };
    let Some(end) = inside.match_indices(mark).map(|(at, _)| at).find(closes) else {
        alone.push(mark);
        return None;
    };
    let tag = match mark {
        '*' => "strong",
        '_' => "em",
        _ => "s",
    };
    Some(Piece::Marked(tag, &inside[..end]))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn line(text: &str) -> String {
        let html = shown(text).0;
        html.strip_prefix("<p dir=\"auto\">").and_then(|html| html.strip_suffix("</p>")).unwrap_or(&html).to_owned()
    }

    #[test]
    fn marks_that_hug_what_they_mark_are_read() {
        for (text, html) in [
            ("*bold* _it_ ~no~", "<strong>bold</strong> <em>it</em> <s>no</s>"),
            ("_*both*, and more_", "<em><strong>both</strong>, and more</em>"),
            ("a snake_case_name", "a snake_case_name"),
            ("2 * 3 * 4 and **two**", "2 * 3 * 4 and **two**"),
            ("*open", "*open"),
            ("`*code*` here", "<code>*code*</code> here"),
            ("one\ntwo", "one\ntwo"),
            ("*é名* ü", "<strong>é名</strong> ü"),
        ] {
            assert_eq!(line(text), html, "{text}");
        }
    }

    #[test]
    fn code_stands_by_itself_and_a_cut_fence_is_one() {
        assert_eq!(
            shown("See:\n```\nlet *a* = 1;\n```\nDone.").0,
            "<p dir=\"auto\">See:</p><pre>let *a* = 1;</pre><p dir=\"auto\">Done.</p>"
        );
        assert_eq!(shown("```\ncut <b>…").0, "<pre>cut &lt;b&gt;…</pre>");
    }

    #[test]
    fn an_address_can_be_followed_and_is_all_that_can_be() {
        let link = |address: &str| format!("<a rel=\"noreferrer noopener\" href=\"{address}\">{address}</a>");
        for (text, html) in [
            ("is https://h.example/a?b=1&c=2.", format!("is {}.", link("https://h.example/a?b=1&amp;c=2"))),
            ("(https://h.example/x)", format!("({})", link("https://h.example/x"))),
            ("*https://h.example/x*", format!("<strong>{}</strong>", link("https://h.example/x"))),
            ("https://h.example/a_(b)", link("https://h.example/a_(b)")),
            ("https://h.example\"onclick=x", format!("{}&quot;onclick=x", link("https://h.example"))),
            ("javascript:alert(1) https:// xhttps://h", "javascript:alert(1) https:// xhttps://h".to_owned()),
            ("https://g\u{43e}ogle.example", "https://g\u{43e}ogle.example".to_owned()),
        ] {
            assert_eq!(line(text), html, "{text}");
        }
    }

    #[test]
    fn nothing_that_is_written_acts_or_hides() {
        let html = shown("<script>a</script> *<img src=x onerror='a'>* `</code>` \u{202e}x \x1b[31m\ttab").0;
        for tag in ["<script", "<img", "</code></code>"] {
            assert!(!html.contains(tag), "{html}");
        }
        assert!(html.contains("<b class=\"sign\">U+202E</b>") && html.contains(">^[</b>[31m"), "{html}");
        let joined = shown("\u{1f468}\u{200d}\u{1f4bb} می\u{200c}شود, and pay\u{200d}pal").0;
        assert!(joined.contains("\u{1f468}\u{200d}\u{1f4bb} می\u{200c}شود"), "{joined}");
        assert!(joined.contains("pay<b class=\"sign\">U+200D</b>pal"), "{joined}");
    }

    #[test]
    fn the_worst_text_is_read_at_once() {
        let begun = Instant::now();
        for worst in ["*a ", "_*~", "*_", "`", "https://", "* a*", "```"] {
            for _ in 0..50 {
                shown(&worst.repeat(2_000 / worst.len()));
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
