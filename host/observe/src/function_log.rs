//! The functions' logs: what handlers print and what the host has to say to their authors.
//!
//! One log for each function, durable, and a ring: the oldest segment goes when the log is over its
//! cap. Lines go through one bounded queue to one writer thread. When the queue is full, lines are
//! dropped and counted, and the function's log says how many: a flood never slows an invocation
//! down. Lines are written within milliseconds but not before the answer, so a killed host loses
//! what is in the queue, unlike in the ledger.
//!
//! Knows nothing of who may read a log, and does not check that a function exists.

mod files;
mod follow;
mod line;
mod sink;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use dashmap::DashMap;
use futures::Stream;
use modelet_types::{FunctionName, InvocationId, RevisionNumber, TenantName};
use tokio::sync::{oneshot, watch};

pub use line::LogLine;
pub use modelet_types::log::{Level, Source};
pub use sink::LogSink;

use crate::sync::lock;
use crate::{Error, folder};
use line::NewLine;
use writer::Command;

/// How function logs are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionLogsConfig {
    /// What one function's log may hold; the oldest segment goes first. Default: 16 MiB.
    pub cap_bytes: u64,
    /// The size of one segment. Default: 1 MiB.
    pub segment_bytes: u64,
    /// Lines that wait for the writer; more are dropped. Default: 16,384.
    pub max_queued_lines: usize,
    /// Bytes of lines that wait for the writer; more are dropped. Default: 32 MiB.
    pub max_queued_bytes: usize,
    /// Files that the writer keeps open between lines. Default: 64.
    pub max_open_files: usize,
}

impl Default for FunctionLogsConfig {
    fn default() -> Self {
        Self {
            cap_bytes: 16 << 20,
            segment_bytes: 1 << 20,
            max_queued_lines: 16 << 10,
            max_queued_bytes: 32 << 20,
            max_open_files: 64,
        }
    }
}

/// What the logs have done since they were opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FunctionLogsStats {
    /// Lines written.
    pub lines: u64,
    /// Lines lost: over an invocation's limit, to a full queue, or to a failed write.
    pub dropped_lines: u64,
}

/// One function's log, as those who write to it and follow it share it.
#[derive(Debug)]
struct FunctionLog {
    tenant: TenantName,
    function: FunctionName,
    /// Lines that found the queue full and are yet to be mentioned.
    unsaid_drops: AtomicU64,
    /// Wakes those who follow.
    progress: watch::Sender<Progress>,
}

/// How far a log is.
#[derive(Clone, Copy, Default, Debug)]
struct Progress {
    /// How often the writer has written lines.
    writes: u64,
    /// The function was deleted: what its last invocations still say goes nowhere.
    removed: bool,
}

/// What the handle and the writer share.
#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    lines: AtomicU64,
    dropped_lines: AtomicU64,
    /// Logs with drops to mention; the writer looks here after each batch.
    dropped_from: Mutex<Vec<Arc<FunctionLog>>>,
}

/// The logs of all functions on this host.
pub struct FunctionLogs {
    dir: PathBuf,
    config: FunctionLogsConfig,
    logs: DashMap<(TenantName, FunctionName), Arc<FunctionLog>>,
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    queue: Option<SyncSender<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FunctionLogs {
    /// Opens the logs in `dir`, made if missing.
    ///
    /// # Errors
    /// If the file system refuses, or no thread can be had.
    pub fn open(dir: impl Into<PathBuf>, config: FunctionLogsConfig) -> Result<Arc<Self>, Error> {
        let dir = dir.into();
        folder::create(&dir)?;
        let shared = Arc::new(Shared::default());
        let (queue, commands) = sync_channel(config.max_queued_lines);
        let writer = writer::Writer::new(dir.clone(), config, Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("function-logs".into())
            .spawn(move || writer.run(&commands))
            .map_err(Error::io("start the writer of", &dir))?;
        let thread = Mutex::new(Some(thread));
        Ok(Arc::new(Self { dir, config, logs: DashMap::new(), shared, queue: Some(queue), thread }))
    }

    /// Where one invocation writes its lines, up to `max_bytes` of them.
    ///
    /// Made before the handler runs; a sink that outlives its function's deletion writes nowhere.
    pub fn sink(
        self: &Arc<Self>,
        tenant: &TenantName,
        function: &FunctionName,
        revision: RevisionNumber,
        invocation: InvocationId,
        max_bytes: u64,
    ) -> LogSink {
        let log = self.log(tenant, function);
        LogSink::new(Arc::clone(self), log, revision, invocation, max_bytes)
    }

    /// Writes a line of the host's own that belongs to no invocation, such as a failed wake.
    pub fn host_line(&self, tenant: &TenantName, function: &FunctionName, level: Level, message: &str) {
        let log = self.log(tenant, function);
        self.push(&log, NewLine::new(level, Source::Host, None, None, message));
    }

    /// The last `count` lines, oldest first, everything that was said before the call included.
    ///
    /// # Errors
    /// If the log cannot be read. A function that never logged has an empty log.
    pub async fn tail(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        count: usize,
    ) -> Result<Vec<LogLine>, Error> {
        self.flush().await?;
        let dir = files::dir(&self.dir, tenant, function);
        blocking(move || files::tail(&dir, count)).await
    }

    /// The lines behind `after_seq` (0: from the oldest), then new ones as they come, until the
    /// function is deleted. One who reads slower than the ring turns gets a line that says how many
    /// were missed.
    pub fn follow(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        after_seq: u64,
    ) -> impl Stream<Item = Result<LogLine, Error>> + Send + 'static {
        let progress = self.log(tenant, function).progress.subscribe();
        follow::follow(files::dir(&self.dir, tenant, function), progress, after_seq)
    }

    /// Deletes a function's log and ends those who follow it.
    ///
    /// # Errors
    /// If the files cannot be removed.
    pub async fn remove(&self, tenant: &TenantName, function: &FunctionName) -> Result<(), Error> {
        let log = self.log(tenant, function);
        log.progress.send_modify(|progress| progress.removed = true);
        self.logs.remove(&(tenant.clone(), function.clone()));
        let (done, result) = oneshot::channel();
        self.command(Command::Remove(log, done)).await?;
        result.await.map_err(|_| Error::Stopped)?
    }

    /// Waits until every line said before is in its file.
    ///
    /// # Errors
    /// If the writer has died.
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, result) = oneshot::channel();
        self.command(Command::Flush(done)).await?;
        result.await.map_err(|_| Error::Stopped)
    }

    /// What the logs have done since they were opened.
    pub fn stats(&self) -> FunctionLogsStats {
        FunctionLogsStats {
            lines: self.shared.lines.load(Relaxed),
            dropped_lines: self.shared.dropped_lines.load(Relaxed),
        }
    }

    fn log(&self, tenant: &TenantName, function: &FunctionName) -> Arc<FunctionLog> {
        let key = (tenant.clone(), function.clone());
        if let Some(log) = self.logs.get(&key) {
            return Arc::clone(&log);
        }
        let log = || FunctionLog {
            tenant: tenant.clone(),
            function: function.clone(),
            unsaid_drops: AtomicU64::new(0),
            progress: watch::Sender::new(Progress::default()),
        };
        Arc::clone(&self.logs.entry(key).or_insert_with(|| Arc::new(log())))
    }

    /// Puts a line in the queue, or counts it as dropped.
    fn push(&self, log: &Arc<FunctionLog>, line: NewLine) {
        let bytes = line.queued_bytes();
        let queued = self.shared.queued_bytes.fetch_add(bytes, Relaxed);
        let sent = queued + bytes <= self.config.max_queued_bytes
            && self
                .queue
                .as_ref()
                .is_some_and(|queue| queue.try_send(Command::Line(Arc::clone(log), line)).is_ok());
        if !sent {
            self.shared.queued_bytes.fetch_sub(bytes, Relaxed);
            self.shared.dropped_lines.fetch_add(1, Relaxed);
            if log.unsaid_drops.fetch_add(1, Relaxed) == 0 {
                lock(&self.shared.dropped_from).push(Arc::clone(log));
            }
        }
    }

    /// Sends what must not be dropped; waits for room without holding the thread.
    async fn command(&self, command: Command) -> Result<(), Error> {
        let Some(queue) = &self.queue else { return Err(Error::Stopped) };
        match queue.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Error::Stopped),
            Err(TrySendError::Full(command)) => {
                let queue = queue.clone();
                blocking(move || queue.send(command).map_err(|_| Error::Stopped)).await
            }
        }
    }
}

impl Drop for FunctionLogs {
    fn drop(&mut self) {
        // The writer ends when the queue is closed and empty.
        self.queue = None;
        if let Some(thread) = lock(&self.thread).take() {
            // It has nothing to say; a panic of it was logged when it happened.
            let _ = thread.join();
        }
    }
}

/// Runs what touches files away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Stopped))
}
