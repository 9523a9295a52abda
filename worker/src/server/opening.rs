//! A connection must show its first request head (or HTTP/2 preface) soon, or it is closed. After that it may be idle: gateways
//! keep connections for later. hyper's own deadline does not know the difference: it also runs while the next head is awaited.
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Reads fail with `TimedOut` when the first head is not complete in time.
pub struct Opening<S> {
    inner: S,
    /// None once the first head was seen.
    waiting: Option<Waiting>,
}

struct Waiting {
    deadline: Pin<Box<Sleep>>,
    /// Something other than a line end has come.
    begun: bool,
    /// The last line was ended and nothing has followed.
    line_ended: bool,
}

impl<S> Opening<S> {
    /// Wraps a new connection; the time runs from now.
    pub fn new(inner: S, within: Duration) -> Self {
        let waiting = Waiting { deadline: Box::pin(sleep(within)), begun: false, line_ended: false };
        Self { inner, waiting: Some(waiting) }
    }
}

impl Waiting {
    /// Whether these bytes hold the end of a head: an empty line. The preface of HTTP/2 has one as well.
    fn ends(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| match byte {
            b'\n' if self.begun && self.line_ended => true,
            b'\n' => {
                self.line_ended = self.begun;
                false
            }
            b'\r' => false,
            _ => {
                (self.begun, self.line_ended) = (true, false);
                false
            }
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let Some(waiting) = &mut self.waiting else { return read };
        if waiting.ends(buf.filled().get(before..).unwrap_or_default()) {
            self.waiting = None;
        } else if waiting.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request came in time")));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
