//! Standard output and error of a handler, cut into lines of the function's log.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::ports::{Level, Log, Source};

/// A longer line is cut in pieces, so that a handler that never ends a line costs no more than this.
const MAX_LINE_BYTES: usize = 8 << 10;

/// What a handler may write before it is asked to wait. Writing never blocks, so this only bounds
/// one call.
const WRITE_BYTES: usize = 64 << 10;

/// A stream whose lines go to a log. Clones write to the same line.
#[derive(Clone)]
pub(super) struct LogStream(Arc<Shared>);

struct Shared {
    level: Level,
    source: Source,
    line: Mutex<Line>,
}

/// The line that has not ended yet.
struct Line {
    /// Where it will go.
    log: Arc<dyn Log>,
    text: Vec<u8>,
}

impl LogStream {
    pub(super) fn new(log: Arc<dyn Log>, level: Level, source: Source) -> Self {
        Self(Arc::new(Shared { level, source, line: Mutex::new(Line { log, text: Vec::new() }) }))
    }

    /// Ends the open line, if there is one.
    pub(super) fn end_line(&self) {
        self.0.emit_open(&mut self.lock());
    }

    /// Sends what is written from now on to another log.
    pub(super) fn turn_to(&self, log: Arc<dyn Log>) {
        let mut line = self.lock();
        self.0.emit_open(&mut line);
        line.log = log;
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: &[u8]) {
        let mut line = self.lock();
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for chunk in text.chunks(MAX_LINE_BYTES) {
                if line.text.len() + chunk.len() > MAX_LINE_BYTES {
                    self.0.emit(&mut line);
                }
                line.text.extend_from_slice(chunk);
            }
            if ended {
                self.0.emit(&mut line);
            }
        }
    }
}

impl Shared {
    fn emit(&self, line: &mut Line) {
        line.log.line(self.level, self.source, &String::from_utf8_lossy(&line.text));
        line.text.clear();
    }

    /// A last line without its end is a line all the same.
    fn emit_open(&self, line: &mut Line) {
        if !line.text.is_empty() {
            self.emit(line);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.emit_open(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Log for Lines {
        fn line(&self, _: Level, _: Source, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn cuts_at_line_ends_and_keeps_the_last_line() {
        let lines = Arc::new(Lines::default());
        let stream = LogStream::new(lines.clone(), Level::Info, Source::Stdout);
        stream.push(b"on");
        stream.push(b"e\ntwo\nthr");
        stream.clone().push(b"ee");
        assert_eq!(*lines.0.lock().unwrap(), ["one", "two"]);
        drop(stream);
        assert_eq!(*lines.0.lock().unwrap(), ["one", "two", "three"]);
    }

    #[test]
    fn a_line_belongs_to_the_log_in_which_it_began() {
        let (before, after) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let stream = LogStream::new(before.clone(), Level::Info, Source::Stdout);
        stream.push(b"begun");
        stream.turn_to(after.clone());
        stream.push(b"next\n");
        assert_eq!(*before.0.lock().unwrap(), ["begun"]);
        assert_eq!(*after.0.lock().unwrap(), ["next"]);
    }

    #[test]
    fn a_line_without_end_is_cut_in_pieces() {
        let lines = Arc::new(Lines::default());
        let stream = LogStream::new(lines.clone(), Level::Info, Source::Stdout);
        stream.push(&vec![b'x'; 3 * MAX_LINE_BYTES + 1]);
        drop(stream);
        let lengths: Vec<usize> = lines.0.lock().unwrap().iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, MAX_LINE_BYTES, MAX_LINE_BYTES, 1]);
    }
}
