//! Markdown, as agents write it, in the markup of chats: `*bold*`, `_italic_`, `~struck~`, fences without a language, and
//! nothing else. Headings, links, tables and the like become what reads best without markup. Code is never changed.

use pulldown_cmark::{Alignment, CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use unicode_segmentation::UnicodeSegmentation;

const FENCE: &str = "```";
/// Quotes and lists deeper than this are not told apart: a hostile text must not grow by being indented.
const INDENTS_MAX: usize = 8;
/// Nor by being padded.
const COLUMN_MAX: usize = 40;

/// `markdown` for a chat.
pub fn from_markdown(markdown: &str) -> String {
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
    let mut writer = Writer::default();
    for event in Parser::new_ext(markdown, options) {
        writer.take(event);
    }
    writer.finish()
}

#[derive(Default)]
struct Writer {
    out: String,
    /// What begins every line of the block at hand: quotes and list levels.
    indents: Vec<Indent>,
    /// Addresses of the links and pictures that are open, with where their text begins.
    links: Vec<(String, usize)>,
    /// Code of the block that is open.
    code: Option<String>,
    table: Option<Table>,
    /// A block has ended; the next begins after an empty line.
    parted: bool,
    in_heading: bool,
}

enum Indent {
    Quote,
    /// A list and the number of its next item, if they are numbered.
    List(Option<u64>),
    /// Inside an item: the width of its bullet.
    Item(usize),
}

#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
    alignments: Vec<Alignment>,
    /// Where the cell at hand begins in the output.
    cell: usize,
}

impl Writer {
    fn take(&mut self, event: Event) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.inline(&text),
            },
            Event::Code(code) if self.table.is_some() => self.inline(&code),
            Event::Code(code) => self.inline(&format!("`{code}`")),
            Event::Html(html) | Event::InlineHtml(html) => self.inline(&html),
            Event::SoftBreak | Event::HardBreak => self.line_break(),
            Event::Rule => {
                self.block();
                self.inline("———");
                self.parted = true;
            }
            Event::TaskListMarker(done) => self.inline(if done { "☑ " } else { "☐ " }),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.inline(&text),
            Event::FootnoteReference(name) => self.inline(&format!("[{name}]")),
        }
    }

    fn start(&mut self, tag: Tag) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.block(),
            Tag::Heading { .. } => {
                self.block();
                self.inline("*");
                self.in_heading = true;
            }
            Tag::BlockQuote(_) => {
                self.block();
                self.indents.push(Indent::Quote);
            }
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.block();
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                // A list inside an item follows it without an empty line.
                if !self.indents.iter().any(|indent| matches!(indent, Indent::Item(_))) {
                    self.block();
                }
                self.indents.push(Indent::List(first));
            }
            Tag::Item => self.item(),
            Tag::Emphasis => self.mark("_"),
            Tag::Strong => self.mark("*"),
            Tag::Strikethrough => self.mark("~"),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.begin_line();
                self.links.push((dest_url.into_string(), self.out.len()));
            }
            Tag::Table(alignments) => {
                self.block();
                self.table = Some(Table { alignments, ..Table::default() });
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::TableCell => {
                if let Some(table) = &mut self.table {
                    table.cell = self.out.len();
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.parted = true,
            TagEnd::Heading(_) => {
                self.out.push('*');
                self.in_heading = false;
                self.parted = true;
            }
            TagEnd::BlockQuote(_) | TagEnd::Item => {
                self.indents.pop();
                self.parted = true;
            }
            TagEnd::List(_) => {
                self.indents.pop();
                self.parted = true;
            }
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default();
                self.fenced(&code);
            }
            TagEnd::Emphasis => self.mark("_"),
            TagEnd::Strong => self.mark("*"),
            TagEnd::Strikethrough => self.mark("~"),
            TagEnd::Link | TagEnd::Image => {
                if let Some((url, from)) = self.links.pop()
                    && self.out.get(from..).is_some_and(|text| text.trim_matches(['*', '_']) != url)
                {
                    let bare = self.out.len() == from;
                    self.out.push_str(&if bare { url } else { format!(" ({url})") });
                }
            }
            TagEnd::TableCell => {
                if let Some(table) = &mut self.table
                    && let Some(row) = table.rows.last_mut()
                {
                    row.push(self.out.split_off(table.cell.min(self.out.len())));
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    self.fenced(&table.drawn());
                }
            }
            _ => {}
        }
    }

    /// Bold inside of a heading, which is bold as a whole, would end it; a table is shown as code, where marks are just marks.
    fn mark(&mut self, mark: &str) {
        if self.table.is_none() && !(self.in_heading && mark == "*") {
            self.begin_line();
            self.out.push_str(mark);
        }
    }

    /// A new block begins.
    fn block(&mut self) {
        if self.parted && !self.out.is_empty() {
            // Items of a list stand close together.
            let close = matches!(self.indents.last(), Some(Indent::Item(_)));
            self.newline();
            if !close {
                self.newline();
            }
        }
        self.parted = false;
    }

    fn item(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.newline();
        }
        self.parted = false;
        let bullet = match self.indents.last_mut() {
            Some(Indent::List(Some(number))) => {
                *number += 1;
                format!("{}. ", *number - 1)
            }
            _ => "- ".to_owned(),
        };
        self.begin_line();
        self.out.push_str(&bullet);
        self.indents.push(Indent::Item(bullet.len()));
    }

    fn inline(&mut self, text: &str) {
        for (at, line) in text.split('\n').enumerate() {
            if at > 0 {
                self.line_break();
            }
            if !line.is_empty() {
                self.begin_line();
                self.out.push_str(line);
            }
        }
    }

    fn line_break(&mut self) {
        if self.table.is_some() {
            self.out.push(' ');
        } else {
            self.newline();
        }
    }

    fn newline(&mut self) {
        let kept = self.out.trim_end_matches(' ').len();
        self.out.truncate(kept);
        self.out.push('\n');
    }

    /// What every line of the blocks around begins with.
    fn begin_line(&mut self) {
        if self.table.is_some() || !(self.out.is_empty() || self.out.ends_with('\n')) {
            return;
        }
        for indent in self.indents.iter().take(INDENTS_MAX) {
            match indent {
                Indent::Quote => self.out.push_str("> "),
                Indent::List(_) => {}
                Indent::Item(width) => self.out.extend(std::iter::repeat_n(' ', *width)),
            }
        }
    }

    /// Code, unchanged, in a fence of its own; code that holds a fence can't stand in one.
    fn fenced(&mut self, code: &str) {
        if !(self.out.is_empty() || self.out.ends_with('\n')) {
            self.newline();
        }
        let code = code.strip_suffix('\n').unwrap_or(code);
        if code.contains(FENCE) {
            self.out.push_str(code);
        } else {
            self.out.push_str(&format!("{FENCE}\n{code}\n{FENCE}"));
        }
        self.parted = true;
    }

    fn finish(self) -> String {
        self.out.trim_end().to_owned()
    }
}

impl Table {
    /// In columns, for monospace.
    fn drawn(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column: usize| cells(column).map(|cell| wide(cell).min(COLUMN_MAX)).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let padding = " ".repeat(widths[column].saturating_sub(wide(cell)));
                match self.alignments.get(column) {
                    Some(Alignment::Right) => format!("{padding}{cell}"),
                    _ => format!("{cell}{padding}"),
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn wide(cell: &str) -> usize {
    cell.graphemes(true).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_becomes_what_chats_show() {
        for (markdown, chat) in [
            ("plain", "plain"),
            ("**bold** and *italic* and ~~gone~~", "*bold* and _italic_ and ~gone~"),
            ("## A **big** heading\n\ntext", "*A big heading*\n\ntext"),
            ("see [the docs](https://a.example/x)", "see the docs (https://a.example/x)"),
            ("<https://a.example/x>", "https://a.example/x"),
            ("![a cat](cat.png)", "a cat (cat.png)"),
            ("- one\n- two\n  - inner\n- three", "- one\n- two\n  - inner\n- three"),
            ("1. one\n2. two\n\nafter", "1. one\n2. two\n\nafter"),
            ("- [x] done\n- [ ] open", "- ☑ done\n- ☐ open"),
            ("> quoted\n> lines", "> quoted\n> lines"),
            ("one\ntwo  \nthree", "one\ntwo\nthree"),
            ("a\n\n---\n\nb", "a\n\n———\n\nb"),
            ("call `f(x)` now", "call `f(x)` now"),
            (
                "```rust\nfn main() {\n    **not bold**\n}\n```\nafter",
                "```\nfn main() {\n    **not bold**\n}\n```\n\nafter",
            ),
            ("| a | b |\n|---|--:|\n| `long` **cell** | 1 |", "```\na          b\nlong cell  1\n```"),
            ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
            ("~~~\na\n```\nb\n~~~", "a\n```\nb"),
            ("", ""),
        ] {
            assert_eq!(from_markdown(markdown), chat, "{markdown:?}");
        }
    }

    proptest! {
        #[test]
        fn code_blocks_are_never_changed(
            before in "[a-z *_#>\\n-]{0,40}",
            code in "[a-z *_#<>&|~\\[\\]()\\t -]{1,20}(\n[a-z *_#<>&|~\\[\\]() -]{0,20}){0,5}",
            after in "[a-z *_#>\\n-]{0,40}",
        ) {
            // Three tildes would end the block.
            prop_assume!(!code.contains("~~~"));
            let chat = from_markdown(&format!("{before}\n\n<!-- -->\n\n~~~text\n{code}\n~~~\n\n{after}"));
            prop_assert!(chat.contains(&format!("{FENCE}\n{code}\n{FENCE}")), "{chat:?} lacks {code:?}");
        }

        #[test]
        fn any_text_is_taken(text in "\\PC{0,200}") {
            from_markdown(&text);
        }
    }
}
