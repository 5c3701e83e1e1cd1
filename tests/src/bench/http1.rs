//! Just enough of HTTP/1.1 for a load generator and for stand-ins that must cost as little as they can: whole messages
//! with a `Content-Length`, one after the other on a connection.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest message that is read.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A request or an answer: its first line and its headers, and how long its body was, which was read and dropped.
#[derive(Debug)]
pub(super) struct Message {
    head: Bytes,
    body: usize,
}

impl Message {
    /// Whether it is a request that asks for something to be done, and not at a path that holds this word.
    pub(super) fn asks_but_for(&self, word: &[u8]) -> bool {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        line.starts_with(b"POST ") && !line.windows(word.len()).any(|part| part == word)
    }

    /// Bytes of its body.
    pub(super) fn body_bytes(&self) -> usize {
        self.body
    }

    /// The status of an answer; 0 when it is none.
    pub(super) fn status(&self) -> u16 {
        let digits = self.head.get(9..12).unwrap_or_default();
        digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit.wrapping_sub(b'0')))
    }
}

impl Connection {
    /// Over `stream`, without delay.
    pub(super) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(8 * 1024) })
    }

    /// Send one message, ready made.
    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await
    }

    /// The next message; `None` when the other end has closed between two.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some((head, body)) = lengths(&self.buffer)?
                && self.buffer.len() >= head + body
            {
                let head = self.buffer.split_to(head).freeze();
                self.buffer.advance(body);
                return Ok(Some(Message { head, body }));
            }
            if self.buffer.len() > MESSAGE_BYTES_MAX {
                return Err(io::Error::other("a message is too long"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Send a request and wait for its answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Message> {
        self.send(request).await?;
        self.receive().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// How long the head and the body of the first message in `bytes` are, once its head is complete.
fn lengths(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let name = b"content-length:";
    let length = bytes[..end]
        .split(|byte| *byte == b'\n')
        .find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name))
        .map_or(Some(0), |line| std::str::from_utf8(&line[name.len()..]).ok()?.trim().parse().ok());
    let length = length.ok_or_else(|| io::Error::other("a content-length that is no number"))?;
    Ok(Some((end + 4, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says() {
        assert_eq!(lengths(b"HTTP/1.1 200 OK\r\nconte").unwrap(), None);
        assert_eq!(lengths(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").unwrap(), Some((38, 5)));
        assert_eq!(lengths(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap(), Some((27, 0)));
        assert!(lengths(b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n").is_err());
    }
}
