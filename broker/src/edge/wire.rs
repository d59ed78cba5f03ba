//! A stream's bytes in and out, together in one poll, with no buffer held while nothing moves.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::farewell::{Farewell, Why};
use super::sent::Sent;
use super::transport::Stream;

/// Most bytes read at once.
const READ_MAX: usize = 16 << 10;

/// How long a client may take to read the last packet before its connection is cut.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

thread_local! {
    /// Each thread reads one connection at a time, so all connections of a thread share the buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into_boxed_slice());
}

/// A stream and what waits to be written to it.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    output: BytesMut,
    /// Written to the stream, but perhaps still in its own buffer.
    unflushed: bool,
    /// Writing has failed: a WebSocket must not be asked to write or to close after that.
    broken: bool,
    /// Bytes the socket has taken.
    sent: Sent,
    /// Of a WebSocket.
    farewell: Option<Farewell>,
    /// Bytes it had taken when it was last found to keep some waiting, and since when it has taken no more.
    stuck: Option<(u64, Instant)>,
    /// Bytes it had taken when it last kept some waiting.
    kept_waiting: Option<u64>,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>, sent: Sent, farewell: Option<Farewell>) -> Wire {
        Wire {
            stream,
            output: BytesMut::new(),
            unflushed: false,
            broken: false,
            sent,
            farewell,
            stuck: None,
            kept_waiting: None,
        }
    }

    /// Whether bytes have waited for `patience` and the socket took none of them. Looks each time it is asked.
    pub(super) fn is_stuck(&mut self, now: Instant, patience: Duration) -> bool {
        let sent = self.sent.count();
        let waits = self.unflushed || !self.output.is_empty();
        self.stuck = match self.stuck {
            Some((seen, since)) if waits && seen == sent => Some((seen, since)),
            _ => waits.then_some((sent, now)),
        };
        self.stuck.is_some_and(|(_, since)| now >= since + patience)
    }

    /// Since when bytes wait, as far as `is_stuck` has looked.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.stuck.map(|(_, since)| since)
    }

    /// Forgets what waits: nobody takes it.
    pub(super) fn give_up(&mut self) {
        self.output = BytesMut::new();
    }

    /// What is appended here is written by `drive` and `finish`.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Reads once. The end of the stream is an error.
    pub(super) async fn read(&mut self, mut input: impl FnMut(&[u8])) -> io::Result<()> {
        poll_fn(|cx| self.poll_read(cx, &mut input)).await
    }

    /// Reads until the stream has ended, or `max` bytes were read.
    pub(super) async fn read_rest(&mut self, max: usize, mut input: impl FnMut(&[u8])) {
        let mut count = 0;
        while count < max {
            let read = self.read(|bytes| {
                count += bytes.len();
                input(bytes);
            });
            if read.await.is_err() {
                return;
            }
        }
    }

    /// Writes what waits; completes when there is room to write more, or when bytes were read (if `reads`). With `once`
    /// it completes after one attempt at each. `takes` is told when the other side takes something of what it has kept
    /// waiting.
    pub(super) async fn drive(
        &mut self,
        reads: bool,
        once: bool,
        mut input: impl FnMut(&[u8]),
        takes: impl Fn(),
    ) -> io::Result<()> {
        poll_fn(|cx| {
            let had_output = !self.output.is_empty();
            if let Poll::Ready(Err(error)) = self.poll_write(cx) {
                return Poll::Ready(Err(error));
            }
            let sent = self.sent.count();
            if self.kept_waiting.is_some_and(|before| before < sent) {
                takes();
            }
            self.kept_waiting = (!self.output.is_empty()).then_some(sent);
            let wrote = had_output && self.output.is_empty();
            let read = if reads {
                self.poll_read(cx, &mut input)
            } else {
                Poll::Pending
            };
            match read {
                Poll::Ready(result) => Poll::Ready(result),
                // What was held back for a full output may go on.
                Poll::Pending if wrote || once => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Why it will be finished, for a client below whose MQTT that is told; the first reason counts.
    pub(super) fn ends(&self, why: Why) {
        if let Some(farewell) = &self.farewell {
            farewell.say(why);
        }
    }

    /// Finishes, and reads on until the other side has, or `max` bytes: what it still sends is dropped.
    pub(super) async fn part(&mut self, max: usize) -> io::Result<()> {
        self.finish().await?;
        self.read_rest(max, |_| {}).await;
        Ok(())
    }

    /// Writes everything and closes the stream's writing side.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(cx)).await?;
        let closed = self.stream.shutdown().await;
        self.broken = closed.is_err();
        closed
    }

    /// Gives the last bytes a moment; what does not take them is cut.
    pub(super) async fn take_leave(&mut self) {
        let _ = timeout(FAREWELL, self.finish()).await;
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = self.poll_write_all(cx);
        self.broken = matches!(written, Poll::Ready(Err(_)));
        written
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut *self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
            self.unflushed = false;
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut impl FnMut(&[u8])) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            input(buffer.filled());
            Poll::Ready(Ok(()))
        })
    }
}
