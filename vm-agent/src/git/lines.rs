//! Git's output line by line, for output that may be too long to be kept.

use std::io;
use std::ops::ControlFlow;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::{COMPLAINT_BYTES_MAX, Call, GitError, Group, read_all_keep_start, scrub};

/// A line without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Its beginning.
    pub(super) bytes: &'a [u8],
    /// Whether it is longer.
    pub(super) cut: bool,
}

impl Call {
    /// Run it to a successful end, and hand its lines over as they come: of each `bytes_max` bytes. When no more are wanted, it
    /// is ended.
    pub(super) async fn each_line(
        self,
        bytes_max: usize,
        mut take: impl FnMut(Line<'_>) -> io::Result<ControlFlow<()>>,
    ) -> Result<(), GitError> {
        let what = self.what;
        let mut child = self.spawn()?;
        let group = Group::led_by(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let lines = read_lines(stdout, bytes_max, &mut take);
            let (flow, complaint) = tokio::join!(lines, read_all_keep_start(stderr, COMPLAINT_BYTES_MAX));
            Ok((flow?, complaint?, child.wait().await?))
        };
        let (flow, complaint, status) = tokio::time::timeout(self.timeout, work)
            .await
            .map_err(|_| GitError::TimedOut { what, limit: self.timeout })?
            .map_err(GitError::io(format!("`git {what}` could not be followed")))?;
        group.ended();
        if flow.is_continue() && !status.success() {
            return Err(GitError::Failed { what, complaint: scrub(&complaint, &self.secrets) });
        }
        Ok(())
    }
}

/// Read to the end, or until no more is wanted; then hang up, which ends the writer.
async fn read_lines(
    from: Option<impl AsyncRead + Unpin>,
    bytes_max: usize,
    take: &mut impl FnMut(Line<'_>) -> io::Result<ControlFlow<()>>,
) -> io::Result<ControlFlow<()>> {
    let Some(from) = from else { return Ok(ControlFlow::Continue(())) };
    let mut from = BufReader::new(from);
    let (mut line, mut cut) = (Vec::new(), false);
    loop {
        let buffer = from.fill_buf().await?;
        let is_over = buffer.is_empty();
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        let fits = piece.len().min(bytes_max - line.len());
        cut |= fits < piece.len();
        line.extend_from_slice(&piece[..fits]);
        let used = piece.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() || (is_over && !line.is_empty()) {
            if take(Line { bytes: &line, cut })?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            line.clear();
            cut = false;
        }
        if is_over {
            return Ok(ControlFlow::Continue(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str, bytes_max: usize, lines_max: usize) -> Vec<(String, bool)> {
        let mut lines = Vec::new();
        let mut take = |line: Line<'_>| {
            lines.push((String::from_utf8_lossy(line.bytes).into_owned(), line.cut));
            Ok(if lines.len() < lines_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        };
        let _ = read_lines(Some(text.as_bytes()), bytes_max, &mut take).await.unwrap();
        lines
    }

    #[tokio::test]
    async fn lines_come_whole_or_as_their_beginning() {
        let expected = [("one", false), ("", false), ("four", true), ("last", false)];
        let expected = expected.map(|(line, cut)| (line.to_owned(), cut));
        assert_eq!(read("one\n\nfour and more\nlast", 4, 9).await, expected);
        assert_eq!(read("one\n\nfour and more\nlast", 4, 3).await, expected[..3]);
        let long = format!("{}\nend\n", "x".repeat(100_000));
        assert_eq!(read(&long, 3, 9).await, [("xxx".to_owned(), true), ("end".to_owned(), false)]);
        assert_eq!(read("", 4, 9).await, []);
    }
}
