//! The thread that writes all functions' logs.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use modelet_types::{FunctionName, TenantName};
use tokio::sync::oneshot;

use super::Level;
use super::files::{self, Ring};
use super::line::{LogLine, NewLine};
use super::{FunctionLog, FunctionLogsConfig, Shared};
use crate::Error;
use crate::sync::lock;

/// How many commands are taken before their lines are written.
const BATCH: usize = 1_024;

/// Lines of one log are written at the latest when they are so many bytes.
const MAX_BUFFER_BYTES: usize = 256 << 10;

/// A file without a line for so long is closed.
const IDLE: Duration = Duration::from_secs(30);

/// How often an idle writer looks for files to close and drops to mention.
const TICK: Duration = Duration::from_secs(1);

/// What the writer is asked to do.
pub(super) enum Command {
    /// Write a line.
    Line(Arc<FunctionLog>, NewLine),
    /// Delete a log.
    Remove(Arc<FunctionLog>, oneshot::Sender<Result<(), Error>>),
    /// Say when everything before is written.
    Flush(oneshot::Sender<()>),
}

type Key = (TenantName, FunctionName);

struct Open {
    ring: Ring,
    log: Arc<FunctionLog>,
    used: Instant,
}

/// The writer's state.
pub(super) struct Writer {
    dir: PathBuf,
    config: FunctionLogsConfig,
    shared: Arc<Shared>,
    open: HashMap<Key, Open>,
    /// Logs with lines in their buffers.
    unwritten: Vec<Key>,
    flushed: Vec<oneshot::Sender<()>>,
    open_files: usize,
}

impl Writer {
    pub(super) fn new(dir: PathBuf, config: FunctionLogsConfig, shared: Arc<Shared>) -> Self {
        let (unwritten, flushed) = (Vec::new(), Vec::new());
        Self { dir, config, shared, open: HashMap::new(), unwritten, flushed, open_files: 0 }
    }

    /// Writes until all senders are gone and the queue is empty.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let disconnected = match commands.recv_timeout(TICK) {
                Ok(command) => {
                    self.handle(command);
                    commands.try_iter().take(BATCH - 1).for_each(|command| self.handle(command));
                    false
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.close_idle();
                    false
                }
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.mention_drops();
            self.write_all();
            if disconnected {
                return;
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Line(log, line) => {
                self.shared.queued_bytes.fetch_sub(line.queued_bytes(), Relaxed);
                self.add(&log, |seq| line.numbered(seq));
            }
            Command::Remove(log, done) => {
                // Nobody may wait any more; the log is gone all the same.
                let _ = done.send(self.remove(&log));
            }
            Command::Flush(done) => self.flushed.push(done),
        }
    }

    fn add(&mut self, log: &Arc<FunctionLog>, line: impl FnOnce(u64) -> LogLine) {
        if log.progress.borrow().removed {
            return;
        }
        let key = (log.tenant.clone(), log.function.clone());
        if !self.open.contains_key(&key) {
            match Ring::open(files::dir(&self.dir, &log.tenant, &log.function), self.config) {
                Ok(ring) => {
                    let open = Open { ring, log: Arc::clone(log), used: Instant::now() };
                    self.open.insert(key.clone(), open);
                }
                Err(error) => return self.lost(log, 1, &error),
            }
        }
        let open = self.open.get_mut(&key).expect("inserted above");
        let first = open.ring.buffered_lines() == 0;
        let size = open.ring.add(&line(open.ring.next_seq()));
        if size >= MAX_BUFFER_BYTES {
            self.write(&key);
        } else if first {
            self.unwritten.push(key);
        }
    }

    /// Adds a line to each log of which lines were dropped.
    fn mention_drops(&mut self) {
        let logs = std::mem::take(&mut *lock(&self.shared.dropped_from));
        for log in logs {
            let dropped = log.unsaid_drops.swap(0, Relaxed);
            let text = format!("{dropped} lines dropped: they came faster than the host can write them");
            self.add(&log, |seq| LogLine::from_host(seq, Level::Warn, text));
        }
    }

    fn write_all(&mut self) {
        for key in std::mem::take(&mut self.unwritten) {
            self.write(&key);
        }
        for done in self.flushed.drain(..) {
            // Nobody may wait any more.
            let _ = done.send(());
        }
    }

    fn write(&mut self, key: &Key) {
        let Some(open) = self.open.get_mut(key) else { return };
        let lines = open.ring.buffered_lines();
        let had_file = open.ring.has_file();
        match open.ring.write() {
            Ok(()) => {
                open.used = Instant::now();
                self.shared.lines.fetch_add(lines, Relaxed);
                open.log.progress.send_modify(|progress| progress.writes += 1);
                self.open_files += usize::from(open.ring.has_file()) - usize::from(had_file);
                if self.open_files > self.config.max_open_files {
                    self.close_oldest();
                }
            }
            Err(error) => {
                // Opened anew at the next line, which cuts what was half written.
                self.open_files -= usize::from(had_file);
                if let Some(open) = self.open.remove(key) {
                    self.lost(&open.log, lines, &error);
                }
            }
        }
    }

    fn lost(&self, log: &FunctionLog, lines: u64, error: &Error) {
        let before = self.shared.dropped_lines.fetch_add(lines, Relaxed);
        // The first, and then once in a while: a full disk fails every line.
        if before == 0 || before / 10_000 != (before + lines) / 10_000 {
            let (tenant, function) = (log.tenant.as_str(), log.function.as_str());
            let cause: &dyn std::error::Error = error;
            tracing::error!(tenant, function, error = cause, lines, "function log not written");
        }
    }

    fn remove(&mut self, log: &FunctionLog) -> Result<(), Error> {
        if let Some(open) = self.open.remove(&(log.tenant.clone(), log.function.clone())) {
            self.open_files -= usize::from(open.ring.has_file());
        }
        let dir = files::dir(&self.dir, &log.tenant, &log.function);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &dir)(error)),
            _ => Ok(()),
        }
    }

    fn close_idle(&mut self) {
        for open in self.open.values_mut().filter(|open| open.ring.has_file()) {
            if open.used.elapsed() > IDLE {
                open.ring.close_file();
                self.open_files -= 1;
            }
        }
    }

    fn close_oldest(&mut self) {
        let with_file = self.open.values_mut().filter(|open| open.ring.has_file());
        if let Some(oldest) = with_file.min_by_key(|open| open.used) {
            oldest.ring.close_file();
            self.open_files -= 1;
        }
    }
}
