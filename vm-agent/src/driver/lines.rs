//! Lines of an agent's output, each bounded: an agent may write without end.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines of at most a given length; the rest of a longer one is thrown away.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// As written, without its end; bytes that are not UTF-8 replaced.
    Whole(String),
    /// Longer than allowed: its beginning.
    Cut(String),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The lines of `reader`.
    pub fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader: BufReader::new(reader), bytes_max }
    }

    /// The next line, or nothing at the end. Broken pipes count as the end. Safe to drop between lines only.
    pub async fn next(&mut self) -> Option<Line> {
        let (mut line, mut cut, mut any) = (Vec::new(), false, false);
        loop {
            let buffer = self.reader.fill_buf().await.unwrap_or_default();
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = self.bytes_max.saturating_sub(line.len());
            cut |= part.len() > room;
            line.extend_from_slice(&part[..part.len().min(room)]);
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        any.then_some(if cut { Line::Cut(text) } else { Line::Whole(text) })
    }
}

/// The last `bytes_max` bytes of `reader`, read to its end: what a program said before it failed.
pub async fn tail(reader: impl AsyncRead + Unpin, bytes_max: usize) -> String {
    let mut reader = BufReader::new(reader);
    let mut kept = Vec::new();
    while let Some(read) = read_some(&mut reader, &mut kept).await {
        reader.consume(read);
        let excess = kept.len().saturating_sub(bytes_max);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

async fn read_some(reader: &mut (impl AsyncBufRead + Unpin), kept: &mut Vec<u8>) -> Option<usize> {
    let buffer = reader.fill_buf().await.ok().filter(|buffer| !buffer.is_empty())?;
    kept.extend_from_slice(buffer);
    Some(buffer.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_end_at_their_ends_and_giants_are_cut() {
        let mut lines = Lines::new(&b"one\n\nthree is long\nlast"[..], 5);
        assert_eq!(lines.next().await, Some(Line::Whole("one".to_owned())));
        assert_eq!(lines.next().await, Some(Line::Whole(String::new())));
        assert_eq!(lines.next().await, Some(Line::Cut("three".to_owned())));
        assert_eq!(lines.next().await, Some(Line::Whole("last".to_owned())));
        assert_eq!(lines.next().await, None);
    }

    #[tokio::test]
    async fn a_giant_line_is_cut_though_it_comes_in_many_parts() {
        let text = format!("{}\nnext\n", "x".repeat(100_000));
        let mut lines = Lines::new(text.as_bytes(), 50_000);
        assert_eq!(lines.next().await, Some(Line::Cut("x".repeat(50_000))));
        assert_eq!(lines.next().await, Some(Line::Whole("next".to_owned())));
    }

    #[tokio::test]
    async fn a_tail_is_the_end_of_what_was_written() {
        let text = format!("{}the end\n", "x".repeat(100_000));
        assert_eq!(tail(text.as_bytes(), 8).await, "the end");
    }
}
