//! The page that is drawn: a diff in colours, in rows of monospace that are as wide as a phone.
//!
//! Every row is wrapped here and has a height of its own, so that a page's height is known before it is drawn. It holds no
//! script, loads nothing, and everything that is not ours is escaped; what can't be seen, or turns other signs around, is
//! written out.

use unicode_width::UnicodeWidthChar;

use super::Subject;
use crate::git::patch::{Part, parts};
use crate::text::is_deceptive;

/// Of a page, in CSS pixels.
pub const WIDTH_PX: u32 = 360;
/// Signs in a row.
const COLUMNS: usize = 48;
/// A tab ends at a multiple of so many columns.
const TAB_COLUMNS: usize = 4;
/// Files that are listed above the diff.
const LISTED_MAX: usize = 12;
/// Above and below all of it.
const MARGIN_PX: u32 = 8;

const STYLE: &str = include_str!("page.css");

/// A page to be drawn.
#[derive(Debug)]
pub struct Page {
    /// As HTML.
    pub html: String,
    /// How high it is, in CSS pixels.
    pub height_px: u32,
    /// False when something is left out.
    pub is_whole: bool,
}

/// What a row is, which is also its name in the style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stat,
    Listed,
    File,
    About,
    Hunk,
    Added,
    Removed,
    Kept,
    Rest,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Listed => "listed",
            Self::File => "file",
            Self::About => "about",
            Self::Hunk => "hunk",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Kept => "kept",
            Self::Rest => "rest",
        }
    }

    /// As the style has it.
    fn height_px(self) -> u32 {
        match self {
            Self::Stat => 28,
            Self::File => 26,
            Self::Rest => 26,
            _ => 18,
        }
    }
}

/// A line before it is wrapped.
struct Line {
    kind: Kind,
    number: Option<u32>,
    text: String,
}

/// A row: what stands in it, as HTML.
struct Row {
    kind: Kind,
    html: String,
}

/// The page of a diff that is at most so high; of a longer one it shows the beginning, and says so.
pub fn of(subject: Subject<'_>, height_max_px: u32) -> Page {
    let lines = lines(subject);
    let gutter = lines.iter().filter_map(|line| line.number).max().map_or(0, |number| number.to_string().len());
    let rows: Vec<Row> = lines.iter().flat_map(|line| wrapped(line, gutter)).collect();
    let room = height_max_px - 2 * MARGIN_PX - Kind::Rest.height_px();
    let mut height_px = 0;
    let fitting = rows.iter().take_while(|row| {
        height_px += row.kind.height_px();
        height_px <= room
    });
    let mut shown = fitting.count();
    let left_out = rows.len() - shown;
    // A heading without what it heads says nothing.
    while left_out > 0 && shown > 0 && matches!(rows[shown - 1].kind, Kind::File | Kind::Hunk) {
        shown -= 1;
    }
    let mut rows = rows;
    rows.truncate(shown);
    let rest = match (left_out, subject.diff_cut) {
        (0, false) => None,
        (0, true) => Some("… the diff is longer than this".to_owned()),
        (_, _) => Some(format!("… and {left_out} more rows")),
    };
    let is_whole = rest.is_none();
    rows.extend(rest.map(|text| Row { kind: Kind::Rest, html: escaped(&text) }));
    let height_px = 2 * MARGIN_PX + rows.iter().map(|row| row.kind.height_px()).sum::<u32>();
    Page { html: html(subject, &rows), height_px, is_whole }
}

fn html(subject: Subject<'_>, rows: &[Row]) -> String {
    let title = escaped(&subject.stat.to_string());
    let rows: String = rows.iter().map(|Row { kind, html }| format!("<p class={}>{html}</p>\n", kind.name())).collect();
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n{rows}"
    )
}

fn lines(subject: Subject<'_>) -> Vec<Line> {
    let plain = |kind, text: String| Line { kind, number: None, text };
    let mut lines = vec![plain(Kind::Stat, subject.stat.to_string())];
    let listed = subject.files.lines(LISTED_MAX).into_iter();
    lines.extend(listed.map(|line| plain(Kind::Listed, line.replace('`', ""))));
    let (mut old, mut new) = (0u32, 0u32);
    for part in parts(subject.diff.as_bytes()) {
        lines.extend(match part {
            Part::File(line) => Some(plain(Kind::File, title(line))),
            Part::About(line) => about(line).map(|text| plain(Kind::About, text)),
            Part::AboutLine(line) => Some(plain(Kind::About, lossy(line))),
            Part::Hunk { old: old_start, new: new_start, within } => {
                (old, new) = (old_start, new_start);
                // What begins where the file does leaves nothing out before it.
                (old.max(new) > 1).then(|| plain(Kind::Hunk, format!("⋯ {}", lossy(within))))
            }
            Part::Line { sign, text } => {
                let (kind, number) = match sign {
                    b'+' => (Kind::Added, new),
                    b'-' => (Kind::Removed, old),
                    _ => (Kind::Kept, new),
                };
                (old, new) = (old.saturating_add(u32::from(sign != b'+')), new.saturating_add(u32::from(sign != b'-')));
                Some(Line { kind, number: Some(number), text: lossy(text) })
            }
        });
    }
    lines
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The name in `diff --git a/NAME b/NAME`, or both names.
fn title(line: &[u8]) -> String {
    let names = lossy(line.strip_prefix(b"diff --git ").unwrap_or(line));
    let same = names.split_at_checked(names.len() / 2).and_then(|(one, other)| {
        let (one, other) = (one.strip_prefix("a/")?, other.strip_prefix(" b/")?);
        (one == other).then(|| one.to_owned())
    });
    let different = || {
        let (one, other) = names.split_once(" b/")?;
        Some(format!("{} → {other}", one.strip_prefix("a/")?))
    };
    same.or_else(different).unwrap_or(names)
}

/// What a line about a file says beyond its title and its hunks.
fn about(line: &[u8]) -> Option<String> {
    let line = lossy(line);
    let known = ["index ", "--- ", "+++ ", "similarity ", "dissimilarity ", "rename to ", "copy to "];
    let said = |prefix: &str, words: &str| line.starts_with(prefix).then(|| words.to_owned());
    if known.iter().any(|prefix| line.starts_with(prefix)) {
        return None;
    }
    said("new file mode 100755", "new file, executable")
        .or_else(|| said("new file mode 120000", "new link"))
        .or_else(|| said("new file mode ", "new file"))
        .or_else(|| said("deleted file mode ", "deleted"))
        .or_else(|| said("rename from ", "renamed"))
        .or_else(|| said("copy from ", "copied"))
        .or_else(|| said("Binary files ", "no text, or too large to be shown"))
        .or(Some(line))
}

/// The rows that a line takes.
fn wrapped(line: &Line, gutter: usize) -> Vec<Row> {
    let sign = match line.kind {
        Kind::Added => "+",
        Kind::Removed => "−",
        Kind::Kept => " ",
        _ => "",
    };
    let is_code = !sign.is_empty();
    let columns = if is_code { COLUMNS - gutter - 2 } else { COLUMNS };
    let number = line.number.map_or_else(String::new, |number| number.to_string());
    let begin = |is_first: bool| match (is_code, is_first) {
        (false, _) => String::new(),
        (true, true) => format!("<i>{number:>gutter$} </i>{sign}"),
        (true, false) => format!("<i>{:>gutter$} </i> ", ""),
    };
    let mut rows = Vec::new();
    let (mut row, mut used): (Vec<(String, usize)>, usize) = (Vec::new(), 0);
    let row_of = |is_first, signs: Vec<(String, usize)>| {
        let text: String = signs.into_iter().map(|(sign, _)| sign).collect();
        Row { kind: line.kind, html: begin(is_first) + &text }
    };
    for character in line.text.chars() {
        let (sign, width) = shown(character, used);
        if used + width > columns {
            let next = row.split_off(best_cut(&row, used));
            rows.push(row_of(rows.is_empty(), std::mem::replace(&mut row, next)));
            used = row.iter().map(|(_, width)| width).sum();
        }
        row.push((sign, width));
        used += width;
    }
    rows.push(row_of(rows.is_empty(), row));
    rows
}

/// Where a full row ends: after a space, if there is one not far from its end.
fn best_cut(row: &[(String, usize)], mut used: usize) -> usize {
    let full = used;
    for (at, (sign, width)) in row.iter().enumerate().rev() {
        if sign.starts_with(' ') && full - used <= COLUMNS / 3 {
            return at + 1;
        }
        used -= width;
    }
    row.len()
}

/// A sign as HTML, and how many columns it takes after `used`.
fn shown(character: char, used: usize) -> (String, usize) {
    match character {
        '\t' => {
            let width = TAB_COLUMNS - used % TAB_COLUMNS;
            (" ".repeat(width), width)
        }
        // As terminals show them: ^M is a carriage return.
        '\0'..='\x1f' | '\x7f' => {
            let name = char::from(u8::try_from(character).unwrap_or_default() ^ 0x40);
            (format!("<b>^{}</b>", escaped(&name.to_string())), 2)
        }
        character if is_deceptive(character) => {
            let name = format!("U+{:04X}", u32::from(character));
            let width = name.len();
            (format!("<b>{name}</b>"), width)
        }
        character => (escaped(character.encode_utf8(&mut [0; 4])), character.width().unwrap_or(1)),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use relay_core::protocol::{ChangedFiles, DiffStat};

    use super::*;

    fn page(diff: &str, height_max_px: u32) -> Page {
        let stat = DiffStat { files: 1, insertions: 1, deletions: 0 };
        of(Subject { stat: &stat, files: &ChangedFiles::default(), diff, diff_cut: false }, height_max_px)
    }

    fn rows(page: &Page) -> Vec<&str> {
        page.html.lines().filter(|line| line.starts_with("<p ")).collect()
    }

    const HEAD: &str = "diff --git a/src/a b.rs b/src/a b.rs\nindex 1..2 100644\n--- a/src/a b.rs\n+++ b/src/a b.rs\n";

    #[test]
    fn a_diff_has_colours_and_line_numbers() {
        let page = page(&format!("{HEAD}@@ -9,2 +9,2 @@ fn main() {{\n kept\n-old\n+new\n"), 2_000);
        let expected = [
            "<p class=stat>1 file, +1 −0</p>",
            "<p class=file>src/a b.rs</p>",
            "<p class=hunk>⋯ fn main() {</p>",
            "<p class=kept><i> 9 </i> kept</p>",
            "<p class=removed><i>10 </i>−old</p>",
            "<p class=added><i>10 </i>+new</p>",
        ];
        assert_eq!((rows(&page), page.is_whole), (expected.to_vec(), true));
        assert_eq!(page.height_px, 16 + 28 + 26 + 4 * 18);
    }

    #[test]
    fn nothing_in_a_diff_becomes_a_part_of_the_page() {
        let hostile = "</p><script>alert(1)</script>&amp;\"'\u{1b}[31m\u{202e}\u{200b}\r";
        let page = page(&format!("diff --git a/<img> b/<img>\n@@ -0,0 +1 @@ <b>\n+{hostile}\n"), 2_000);
        let shown = rows(&page).concat();
        assert!(!shown.contains("<script") && !shown.contains("<img") && !shown.contains('\u{1b}'), "{shown}");
        for expected in ["&lt;script&gt;", "&amp;amp;", "<b>^[</b>[31m", "<b>U+202E</b>", "<b>^M</b>", "&lt;img&gt;"] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        assert!(page.html.contains("default-src 'none'") && !page.html.contains("http:"));
    }

    #[test]
    fn long_lines_are_wrapped_where_a_phone_ends() {
        let page = page(&format!("{HEAD}@@ -0,0 +1,2 @@\n+{}\n+\t{}\n", "x".repeat(100), "界".repeat(30)), 2_000);
        let added: Vec<&str> = rows(&page).into_iter().filter(|row| row.contains("added")).collect();
        assert_eq!(added.len(), 3 + 2);
        assert_eq!(added[1], format!("<p class=added><i>  </i> {}</p>", "x".repeat(45)));
        assert_eq!(
            added[3],
            format!("<p class=added><i>2 </i>+    {}</p>", "界".repeat(20)),
            "wide signs take two columns"
        );
    }

    #[test]
    fn a_line_is_cut_at_a_space_where_there_is_one() {
        let text = "pub fn number_one(counts: &mut BTreeMap<String, u32>) -> Option<u32> {";
        let page = page(&format!("{HEAD}@@ -0,0 +1 @@\n+{text}\n"), 2_000);
        let expected = [
            "<p class=added><i>1 </i>+pub fn number_one(counts: &amp;mut </p>",
            "<p class=added><i>  </i> BTreeMap&lt;String, u32&gt;) -&gt; Option&lt;u32&gt; {</p>",
        ];
        assert_eq!(rows(&page)[2..], expected);
    }

    #[test]
    fn a_page_is_never_higher_than_asked_for_and_says_what_it_leaves_out() {
        let diff = format!("{HEAD}@@ -0,0 +1,500 @@\n{}", "+a line\n".repeat(500));
        let page = page(&diff, 800);
        assert!(page.height_px <= 800 && page.height_px > 780 && !page.is_whole, "{}", page.height_px);
        let shown = rows(&page).len() - 3;
        assert_eq!(rows(&page).last().unwrap(), &format!("<p class=rest>… and {} more rows</p>", 500 - shown));
    }

    #[test]
    fn titles_tell_both_names_of_a_file_that_was_renamed() {
        assert_eq!(title(b"diff --git a/x/y b/x/y"), "x/y");
        assert_eq!(title(b"diff --git a/old.rs b/new/name.rs"), "old.rs → new/name.rs");
        assert_eq!(title(b"diff --git \"a/\\n\" \"b/\\n\""), "\"a/\\n\" \"b/\\n\"");
        assert_eq!(title(b""), "");
    }
}
