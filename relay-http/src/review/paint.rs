//! Lines of code as HTML: in colours, and with what has changed in them marked.

use std::ops::Range;
use std::time::Instant;

use relay_core::protocol::review::Row;

use super::{changed, colour, signs};

/// The text of each row of one file, as HTML. Changed words are looked for until `until`: a page must not wait for them.
pub(super) fn lines(path: &str, rows: &[Row], until: Instant) -> Vec<String> {
    let changed = changed::words(rows, until);
    let colours = colour::of(path, rows);
    let line = |((row, colours), changed): ((&Row, Vec<colour::Coloured>), changed::Ranges)| {
        line(text(row), &colours, &changed)
    };
    rows.iter().zip(colours).zip(changed).map(line).collect()
}

/// What a row says.
pub(super) fn text(row: &Row) -> &str {
    match row {
        Row::Hunk { heading: text, .. }
        | Row::Context { text, .. }
        | Row::Added { text, .. }
        | Row::Removed { text, .. }
        | Row::Note { text } => text,
    }
}

/// Both lists are in order and do not overlap within themselves.
fn line(text: &str, colours: &[colour::Coloured], changed: &[Range<usize>]) -> String {
    let mut html = String::with_capacity(text.len() * 2);
    let (mut colours, mut changed) = (colours.iter().peekable(), changed.iter().peekable());
    let (mut class, mut marked) = (None, false);
    for (at, sign) in text.char_indices() {
        while colours.next_if(|coloured| coloured.range.end <= at).is_some() {}
        while changed.next_if(|range| range.end <= at).is_some() {}
        let next_class = colours.peek().filter(|coloured| coloured.range.contains(&at)).map(|coloured| coloured.class);
        let next_marked = changed.peek().is_some_and(|range| range.contains(&at));
        if (next_class, next_marked) != (class, marked) {
            close(&mut html, class, marked && !next_marked);
            if next_marked && !marked {
                html.push_str("<mark>");
            }
            if let Some(class) = next_class {
                html.push_str("<span class=\"");
                html.push_str(class);
                html.push_str("\">");
            }
            (class, marked) = (next_class, next_marked);
        }
        signs::push(&mut html, sign);
    }
    close(&mut html, class, marked);
    html
}

fn close(html: &mut String, class: Option<&str>, mark: bool) {
    if class.is_some() {
        html.push_str("</span>");
    }
    if mark {
        html.push_str("</mark>");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::colour::Coloured;
    use super::*;

    #[test]
    fn colours_and_marks_are_nested_whatever_they_cover() {
        let colours = [Coloured { range: 0..3, class: "k" }, Coloured { range: 4..9, class: "s" }];
        let html = line("let a = 1;", &colours, &[2..4, 4..6]);
        assert_eq!(
            html,
            "<span class=\"k\">le</span><mark><span class=\"k\">t</span> <span class=\"s\">a </span></mark><span class=\"s\">= 1</span>;"
        );
    }

    #[test]
    fn a_line_without_either_is_its_text() {
        assert_eq!(line("a < b\u{1b}", &[], &[]), "a &lt; b<b class=\"sign\" title=\"U+001B\">^[</b>");
        assert_eq!(line("", &[], &[]), "");
    }

    #[test]
    fn nothing_in_a_line_ends_its_colour() {
        let row = Row::Added { new: 1, text: "let a = \"</span><script>\";".to_owned() };
        let painted = lines("a.rs", &[row], Instant::now() + Duration::from_secs(60));
        assert!(painted[0].contains("&lt;/span&gt;&lt;script&gt;"), "{painted:?}");
        assert_eq!(painted[0].matches("<span").count(), painted[0].matches("</span").count());
    }
}
