//! The diff itself: files that can be closed and opened, with their rows.

use std::time::{Duration, Instant};

use maud::{Markup, PreEscaped, html};
use relay_core::protocol::review::{ReviewChange, ReviewFile, ReviewIndex, Row};

use super::paint;
use super::read::Stretch;
use super::signs::shown;

/// Changed words are looked for this long; what is left comes without.
const COMPARE_TIME: Duration = Duration::from_millis(200);

/// What is added to a page whose last row was the one before the stretch: its rows, and how to go on.
pub fn fragment(signed: &str, index: &ReviewIndex, stretch: &Stretch) -> String {
    sections(signed, index, stretch).into_string()
}

/// The files that a stretch of rows is about, and how to go on after it.
pub(super) fn sections(signed: &str, index: &ReviewIndex, stretch: &Stretch) -> Markup {
    let until = Instant::now() + COMPARE_TIME;
    html! {
        @for (number, file) in files(index, stretch) {
            (section(signed, number, file, stretch, until))
        }
        (rest(index, stretch))
    }
}

/// The files of which the stretch shows something, with their numbers.
pub(super) fn files<'a>(index: &'a ReviewIndex, stretch: &Stretch) -> impl Iterator<Item = (usize, &'a ReviewFile)> {
    let (from, end, is_last) = (stretch.from, stretch.end(), stretch.end() >= index.rows);
    index.files.iter().enumerate().filter(move |(_, file)| match file.rows {
        0 => file.row >= from && (file.row < end || is_last),
        rows => file.row < end && file.row.saturating_add(rows) > from,
    })
}

fn section(signed: &str, number: usize, file: &ReviewFile, stretch: &Stretch, until: Instant) -> Markup {
    let is_begun = file.row < stretch.from;
    let at = |row: u32| usize::try_from(row.saturating_sub(stretch.from)).unwrap_or(usize::MAX).min(stretch.rows.len());
    let rows = &stretch.rows[at(file.row)..at(file.row.saturating_add(file.rows)).max(at(file.row))];
    html! {
        details.file open id={ "f" (number) } data-file=(number) {
            summary {
                h2.path { (path(&file.path)) }
                @if is_begun { span.badge { "continued" } } @else { (badge(file.change)) }
                (counts(file))
            }
            @if !is_begun {
                @if let Some(from) = &file.from { p.note { "from " (path(from)) } }
                @for note in &file.notes { p.note { (shown(note)) } }
                (pictures(signed, file))
            }
            @if !rows.is_empty() { (table(file, rows, until)) }
        }
    }
}

fn table(file: &ReviewFile, rows: &[Row], until: Instant) -> Markup {
    let lines = paint::lines(&file.path, rows, until);
    html! {
        table.diff {
            caption.unseen { "Changes in " (shown(&file.path)) }
            tbody {
                @for (row, line) in rows.iter().zip(lines) {
                    (self::row(row, line))
                }
            }
        }
    }
}

/// Numbers are not part of the text: nobody wants them in what they copy.
fn row(row: &Row, line: String) -> Markup {
    let line = PreEscaped(line);
    match row {
        // What begins where the file does leaves nothing out before it.
        Row::Hunk { old, new, .. } => html! {
            @if (*old).max(*new) > 1 { tr.hunk { td colspan="4" { "⋯ " (line) } } }
        },
        Row::Note { .. } => html! { tr.about { td colspan="4" { (line) } } },
        Row::Context { old, new, .. } => html! {
            tr { td.old data-n=(old) {} td.new data-n=(new) {} td.which {} td.code { (line) } }
        },
        Row::Added { new, .. } => html! {
            tr.added { td.old {} td.new data-n=(new) {} td.which { "+" } td.code { (line) } }
        },
        Row::Removed { old, .. } => html! {
            tr.removed { td.old data-n=(old) {} td.new {} td.which { "−" } td.code { (line) } }
        },
    }
}

fn pictures(signed: &str, file: &ReviewFile) -> Markup {
    let picture = |part: Option<u32>, when: &str| {
        html! {
            @if let Some(part) = part {
                figure {
                    figcaption { (when) }
                    img src={ (signed) "/parts/" (part) } loading="lazy" alt={ (when) ": " (file.path) };
                }
            }
        }
    };
    html! {
        @if file.before.is_some() || file.after.is_some() {
            div.pictures { (picture(file.before, "Before")) (picture(file.after, "After")) }
        }
    }
}

/// How to go on after the stretch.
fn rest(index: &ReviewIndex, stretch: &Stretch) -> Markup {
    let (end, total) = (stretch.end(), index.rows);
    html! {
        @if end < total && stretch.rows.is_empty() {
            p.notice.warn { "The rest of this diff is not kept here any more." }
        } @else if end < total {
            a.button.more href={ "?row=" (end) "#rows" } data-from=(end) {
                "Go on: " (grouped(total - end)) " of " (grouped(total)) " rows are left"
            }
        } @else if index.cut {
            p.notice.warn { "The diff is longer than what can be shown here. An approval is for all of it." }
        }
    }
}

/// A path in which the name stands out, and that can be broken after each slash.
pub(super) fn path(path: &str) -> Markup {
    let (folders, name) = path.rsplit_once('/').map_or(("", path), |(folders, name)| (folders, name));
    html! {
        @if !folders.is_empty() {
            span.folders { @for folder in folders.split('/') { (shown(folder)) "/" wbr; } }
        }
        (shown(name))
    }
}

/// What became of the file, where that is more than a change.
pub(super) fn badge(change: ReviewChange) -> Markup {
    let (class, word) = match change {
        ReviewChange::Modified => return html! {},
        ReviewChange::Added => ("badge good", "new"),
        ReviewChange::Deleted => ("badge bad", "deleted"),
        ReviewChange::Renamed => ("badge info", "renamed"),
        ReviewChange::Copied => ("badge info", "copied"),
        ReviewChange::TypeChanged => ("badge warn", "other kind"),
    };
    html! { span class=(class) { (word) } }
}

/// Lines added and removed.
pub(super) fn counts(file: &ReviewFile) -> Markup {
    html! {
        @if file.insertions > 0 || file.deletions > 0 {
            span.counts { span.plus { "+" (grouped(file.insertions)) } " " span.minus { "−" (grouped(file.deletions)) } }
        }
    }
}

/// A number that can be read: `20,000`.
pub(super) fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use relay_core::protocol::DiffStat;
    use relay_core::protocol::review::PartStart;

    use super::*;

    fn file(path: &str, row: u32, rows: u32) -> ReviewFile {
        ReviewFile {
            path: path.to_owned(),
            from: None,
            change: ReviewChange::Modified,
            notes: Vec::new(),
            insertions: rows,
            deletions: 0,
            row,
            rows,
            before: None,
            after: None,
        }
    }

    fn index(files: Vec<ReviewFile>) -> ReviewIndex {
        let rows = files.iter().fold(0, |rows: u32, file| rows.saturating_add(file.rows));
        let parts = vec![PartStart { part: 1, row: 0 }];
        ReviewIndex { stat: DiffStat { files: 1, insertions: 1, deletions: 0 }, files, rows, parts, cut: false }
    }

    fn stretch(from: u32, count: u32) -> Stretch {
        let row = |number| Row::Added { new: number, text: format!("line {number}") };
        Stretch { from, rows: (from..from + count).map(row).collect() }
    }

    fn shown_files(index: &ReviewIndex, stretch: &Stretch) -> Vec<usize> {
        files(index, stretch).map(|(number, _)| number).collect()
    }

    #[test]
    fn each_row_is_in_the_section_of_its_file_and_on_one_page() {
        let index = index(vec![file("a", 0, 3), file("b", 3, 4), file("picture.png", 7, 0), file("c", 7, 2)]);
        assert_eq!(shown_files(&index, &stretch(0, 3)), [0]);
        assert_eq!(shown_files(&index, &stretch(2, 3)), [0, 1]);
        assert_eq!(shown_files(&index, &stretch(5, 2)), [1]);
        assert_eq!(shown_files(&index, &stretch(7, 2)), [2, 3]);
        let html = fragment("signed", &index, &stretch(2, 3));
        let (first, second) = html.split_once("id=\"f1\"").unwrap();
        assert!(first.contains("line 2") && first.contains("continued") && !first.contains("line 3"), "{first}");
        assert!(second.contains("line 3") && second.contains("line 4"), "{second}");
        assert!(second.contains("href=\"?row=5#rows\""), "{second}");
    }

    #[test]
    fn a_diff_without_rows_shows_its_files() {
        let only = index(vec![file("picture.png", 0, 0), file("b", 0, 0)]);
        assert_eq!(shown_files(&only, &Stretch::default()), [0, 1]);
        let last = index(vec![file("a", 0, 2), file("picture.png", 2, 0)]);
        assert_eq!(shown_files(&last, &stretch(0, 2)), [0, 1]);
    }

    #[test]
    fn a_review_that_lies_about_its_rows_breaks_nothing() {
        let lies = index(vec![file("a", u32::MAX, u32::MAX), file("b", 5, 1), file("c", 0, u32::MAX)]);
        for from in [0, 4, u32::MAX] {
            fragment("signed", &lies, &Stretch { rows: stretch(0, 3).rows, from });
        }
    }

    #[test]
    fn names_and_notes_are_text() {
        let mut hostile = file("<img src=x>/\u{202e}\"><script>", 0, 1);
        hostile.from = Some("<b>".to_owned());
        hostile.notes = vec!["<i>\u{1b}[0m".to_owned()];
        (hostile.before, hostile.after) = (Some(1), Some(2));
        let html = fragment("signed", &index(vec![hostile]), &stretch(0, 1));
        assert!(!html.contains("<script") && !html.contains("<img src=x") && !html.contains("<i>"), "{html}");
        assert!(html.contains("src=\"signed/parts/1\""), "{html}");
    }

    #[test]
    fn numbers_can_be_read() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(20_000), grouped(1_234_567)],
            ["0", "999", "20,000", "1,234,567"]
        );
    }
}
