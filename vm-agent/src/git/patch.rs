//! A unified diff, part by part. Lines of files are told from lines about files by the counts of their hunk, whatever they hold.

/// A part of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A file's part begins with this line.
    File(&'a [u8]),
    /// Something is said about the file: its mode, its other name, that it is binary.
    About(&'a [u8]),
    /// A hunk begins: at these lines, before and after.
    Hunk {
        /// Before.
        old: u32,
        /// After.
        new: u32,
        /// What the hunk stands in, as git found it.
        within: &'a [u8],
    },
    /// A line of the file.
    Line {
        /// `+`, `-` or a space.
        sign: u8,
        /// The line, without its end.
        text: &'a [u8],
    },
    /// Something is said about the line before: that the file ends there without a newline.
    AboutLine(&'a [u8]),
}

/// The first line of a hunk, and how many it has.
type Range = (u32, u32);

/// The parts of `diff`.
pub fn parts(diff: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let lines = diff.strip_suffix(b"\n").unwrap_or(diff).split(|byte| *byte == b'\n').filter(|_| !diff.is_empty());
    let mut reader = Reader::default();
    lines.map(move |line| reader.part(line))
}

/// Reads a diff line by line.
#[derive(Debug, Default)]
pub struct Reader {
    /// What is still to come of the hunk at hand: lines before and after.
    left: (u32, u32),
    in_hunk: bool,
}

impl Reader {
    /// What the next line is.
    pub fn part<'a>(&mut self, line: &'a [u8]) -> Part<'a> {
        let left = &mut self.left;
        match line.split_first() {
            Some((sign @ (b' ' | b'-'), text)) if left.0 > 0 && (*sign == b'-' || left.1 > 0) => {
                *left = (left.0 - 1, left.1 - u32::from(*sign == b' '));
                Part::Line { sign: *sign, text }
            }
            Some((b'+', text)) if left.1 > 0 => {
                left.1 -= 1;
                Part::Line { sign: b'+', text }
            }
            Some((b'\\', _)) if self.in_hunk => Part::AboutLine(line),
            _ if *left == (0, 0) => match hunk(line) {
                Some(((old, old_count), (new, new_count), within)) => {
                    (self.left, self.in_hunk) = ((old_count, new_count), true);
                    Part::Hunk { old, new, within }
                }
                None if line.starts_with(b"diff --git ") => {
                    self.in_hunk = false;
                    Part::File(line)
                }
                None => Part::About(line),
            },
            _ => Part::About(line),
        }
    }
}

/// `@@ -1,3 +1,4 @@ within`: where it begins and how many lines it has, before and after.
fn hunk(line: &[u8]) -> Option<(Range, Range, &[u8])> {
    let rest = line.strip_prefix(b"@@ ")?;
    let end = rest.windows(3).position(|three| three == b" @@")?;
    let (ranges, within) = (std::str::from_utf8(&rest[..end]).ok()?, rest[end + 3..].trim_ascii());
    let (old, new) = ranges.split_once(' ')?;
    let range = |text: &str, sign| {
        let (start, count) = text.strip_prefix(sign)?.split_once(',').unwrap_or((text.strip_prefix(sign)?, "1"));
        Some::<Range>((start.parse().ok()?, count.parse().ok()?))
    };
    Some((range(old, '-')?, range(new, '+')?, within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_look_like_something_else_are_lines() {
        let diff = b"diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,2 +1,3 @@ fn main()\n \
            ctx\n--- a/y\n+++ b/y\n+@@ -1 +1 @@\n\\ No newline at end of file\n@@ -9 +10 @@\n-diff --git\n+b\n\
            diff --git a/z b/z\nold mode 100644\nnew mode 100755\n";
        let found: Vec<Part> = parts(diff).collect();
        let expected = [
            Part::File(b"diff --git a/x b/x"),
            Part::About(b"index 1..2 100644"),
            Part::About(b"--- a/x"),
            Part::About(b"+++ b/x"),
            Part::Hunk { old: 1, new: 1, within: b"fn main()" },
            Part::Line { sign: b' ', text: b"ctx" },
            Part::Line { sign: b'-', text: b"-- a/y" },
            Part::Line { sign: b'+', text: b"++ b/y" },
            Part::Line { sign: b'+', text: b"@@ -1 +1 @@" },
            Part::AboutLine(b"\\ No newline at end of file"),
            Part::Hunk { old: 9, new: 10, within: b"" },
            Part::Line { sign: b'-', text: b"diff --git" },
            Part::Line { sign: b'+', text: b"b" },
            Part::File(b"diff --git a/z b/z"),
            Part::About(b"old mode 100644"),
            Part::About(b"new mode 100755"),
        ];
        assert_eq!(found, expected);
        assert_eq!(parts(b"").count(), 0);
    }
}
