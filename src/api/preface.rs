//! How a connection begins: its peer says which HTTP it speaks. hyper-util reads that much with no time limit of its own, so it is
//! waited for here, where `server` has set one.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::sleep,
};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether these first bytes tell.
fn tells(seen: &[u8]) -> bool {
    seen.len() == PREFACE.len() || !PREFACE.starts_with(seen)
}

/// Waits until the peer has told, and leaves it to be read.
pub async fn peek(socket: &TcpStream) -> io::Result<()> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = socket.peek(&mut seen).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if tells(&seen[..count]) {
            return Ok(());
        }
        // Part of the preface: it is still readable, so there is nothing to wait for but time.
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the peer has told, on a stream that cannot be peeked at.
pub async fn read<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Begun<S>> {
    let mut first = [0; PREFACE.len()];
    let mut end = 0;
    while !tells(&first[..end]) {
        end += match stream.read(&mut first[end..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => count,
        };
    }
    Ok(Begun { stream, first, next: 0, end })
}

/// A stream that has been read from, and gives what was read first.
pub struct Begun<S> {
    stream: S,
    first: [u8; PREFACE.len()],
    /// What of `first` was not given yet is from here.
    next: usize,
    /// To here.
    end: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = &this.first[this.next..this.end];
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        this.next += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_first_is_given_first() {
        for sent in [
            &b"GET / HTTP/1.1"[..],
            b"POST",
            b"PRIOR / HTTP/1.1",
            PREFACE,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore",
        ] {
            // A byte at a time, and at once.
            for room in [1, 100] {
                let (mut client, server) = duplex(room);
                let sending = async {
                    client.write_all(sent).await.unwrap();
                    drop(client);
                };
                let reading = async {
                    let mut read = Vec::new();
                    super::read(server).await.unwrap().read_to_end(&mut read).await.unwrap();
                    read
                };
                assert_eq!(tokio::join!(sending, reading).1, sent);
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_ends_before_it_has_told_is_gone() {
        for sent in [&b""[..], b"P", &PREFACE[..23]] {
            let (mut client, server) = duplex(100);
            client.write_all(sent).await.unwrap();
            drop(client);
            assert!(super::read(server).await.is_err(), "{sent:?}");
        }
    }
}
