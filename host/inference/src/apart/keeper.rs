//! The thread that starts worker processes and buries them. It keeps a spare one, which is nobody's yet.
//!
//! All are started by one thread that lives as long as the service, since the kernel ends a process with
//! the thread that started it. Knows nothing of what they are asked.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use modelet_types::TenantName;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::inside::{ARGUMENT, Orders};
use super::process::{Ending, NO_MEMORY, Process, Why};
use super::{WorkerConfig, socket};
use crate::InferenceError;
use crate::cpu_time::ProcessClock;

/// The most that is kept of what a process says on standard error: the message of a panic.
const MAX_SAID_BYTES: usize = 2 << 10;

/// How often is looked at what processes do, while there are any.
const TICK: Duration = Duration::from_secs(1);

/// A process that was just started. It may not be ready yet, and may never be. Dropping it ends it.
pub(super) struct Started {
    pub(super) process: Arc<Process>,
    /// The host's end of its first socket.
    pub(super) socket: OwnedFd,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.process.kill(Why::Unneeded);
    }
}

/// Starts processes. Dropping it ends those that are left.
pub(super) struct Keeper {
    requests: mpsc::Sender<Request>,
    wake: Arc<OwnedFd>,
}

enum Request {
    Start { tenant: TenantName, keeps_spare: bool, to: mpsc::SyncSender<Result<Started, NotStarted>> },
    Close,
}

/// Why there is no process.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// There are as many as there may be.
    Full,
    Failed(io::Error),
}

impl Keeper {
    /// Starts the thread. `tick` is called about once a second while there are processes; `ended` counts those
    /// that ended although they were needed.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(
        config: &WorkerConfig,
        orders: Orders,
        ended: Arc<AtomicU64>,
        tick: impl Fn() + Send + 'static,
    ) -> Result<Self, InferenceError> {
        let failed = |error: io::Error| InferenceError::Host {
            context: "starting the keeper of worker processes",
            reason: error.to_string(),
        };
        let wake =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| failed(e.into()))?;
        let wake = Arc::new(wake);
        let (requests, asked) = mpsc::channel();
        let keeping = Keeping {
            program: config.program.clone(),
            most: config.processes.max(1),
            orders,
            ended,
            asked,
            wake: Arc::clone(&wake),
            kept: Vec::new(),
            spare: None,
            keeps_spare: false,
        };
        std::thread::Builder::new()
            .name("model-keeper".into())
            .spawn(move || keeping.keep(&tick))
            .map_err(failed)?;
        Ok(Self { requests, wake })
    }

    /// A process for a tenant: the spare one, or a new one. With `keeps_spare`, there is a spare one from then
    /// on.
    ///
    /// # Errors
    /// If there are as many as there may be, or it cannot be started.
    pub(super) fn take(&self, tenant: &TenantName, keeps_spare: bool) -> Result<Started, NotStarted> {
        let (to, started) = mpsc::sync_channel(1);
        self.ask(Request::Start { tenant: tenant.clone(), keeps_spare, to });
        let closed = |_| Err(NotStarted::Failed(io::Error::other("the service is shutting down")));
        started.recv().unwrap_or_else(closed)
    }

    fn ask(&self, request: Request) {
        // Fails only once the thread has ended; whoever waits for an answer finds that out.
        _ = self.requests.send(request);
        _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ask(Request::Close);
    }
}

struct Keeping {
    program: std::path::PathBuf,
    /// Processes that tenants may have at one time.
    most: usize,
    orders: Orders,
    ended: Arc<AtomicU64>,
    asked: mpsc::Receiver<Request>,
    wake: Arc<OwnedFd>,
    kept: Vec<Kept>,
    spare: Option<Started>,
    keeps_spare: bool,
}

/// A process that has not been buried.
struct Kept {
    child: Child,
    handle: OwnedFd,
    errors: Option<ChildStderr>,
    said: Vec<u8>,
    process: Arc<Process>,
}

impl Keeping {
    fn keep(mut self, tick: &dyn Fn()) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            self.wait_until(next_tick);
            let mut counter = [0; 8];
            _ = rustix::io::read(&*self.wake, &mut counter);
            // First, since whoever asks may know that one has made room.
            self.kept.iter_mut().for_each(Kept::listen);
            self.bury();
            loop {
                match self.asked.try_recv() {
                    Ok(Request::Start { tenant, keeps_spare, to }) => {
                        self.keeps_spare |= keeps_spare;
                        self.answer(&tenant, &to);
                    }
                    Ok(Request::Close) | Err(mpsc::TryRecvError::Disconnected) => return self.close(),
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            self.refill();
            if Instant::now() >= next_tick {
                tick();
                next_tick = Instant::now() + TICK;
            }
        }
    }

    /// Waits until something happens, or it is time to look at the processes that there are.
    fn wait_until(&self, next_tick: Instant) {
        let is_watched = self.kept.iter().any(|kept| kept.process.tenant().is_some());
        let left = next_tick.saturating_duration_since(Instant::now());
        let timeout = is_watched.then(|| Timespec::try_from(left).ok()).flatten();
        let mut awaited = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        for kept in &self.kept {
            awaited.push(PollFd::new(&kept.handle, PollFlags::IN));
            awaited.extend(kept.errors.as_ref().map(|errors| PollFd::new(errors, PollFlags::IN)));
        }
        if let Err(error) = poll(&mut awaited, timeout.as_ref())
            && error != rustix::io::Errno::INTR
        {
            tracing::error!(%error, "cannot wait for worker processes");
            std::thread::sleep(TICK);
        }
    }

    fn answer(&mut self, tenant: &TenantName, to: &mpsc::SyncSender<Result<Started, NotStarted>>) {
        // Those too that were ended and have not gone yet.
        let given = self.kept.iter().filter(|kept| kept.process.tenant().is_some()).count();
        let started = if given >= self.most {
            Err(NotStarted::Full)
        } else {
            match self.spare.take() {
                Some(spare) if spare.process.is_alive() => Ok(spare),
                _ => self.start().map_err(NotStarted::Failed),
            }
        };
        let started = started.inspect(|started| started.process.give_to(tenant));
        // Whoever asked may have left, and then it is ended.
        _ = to.send(started);
    }

    /// Sees to it that there is a spare process. One that cannot be started is tried again with the next that
    /// is needed, whose failure is told.
    fn refill(&mut self) {
        if self.keeps_spare && self.spare.is_none() {
            match self.start() {
                Ok(started) => self.spare = Some(started),
                Err(error) => {
                    self.keeps_spare = false;
                    tracing::error!(%error, "cannot start a worker process");
                }
            }
        }
    }

    fn start(&mut self) -> io::Result<Started> {
        let (socket, theirs) = socket::pair()?;
        let mut command = Command::new(&self.program);
        command.arg(ARGUMENT).args(self.orders.to_arguments()).env_clear();
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // The command holds the process's end, which nobody else should, so that its end is seen.
        drop(command);
        let pid = Pid::from_child(&child);
        // Where memory is short, one of these goes and not the host. No harm if it cannot be said.
        _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000");
        let watched = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
        let watched = watched.and_then(|handle| Ok((handle.try_clone()?, handle)));
        let (handle, of_process) = match watched {
            Ok(handles) => handles,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        let errors = child.stderr.take();
        if let Some(errors) = &errors {
            // What is there is read, and no more waited for.
            rustix::io::ioctl_fionbio(errors, true)?;
        }
        let process = Arc::new(Process::new(of_process, ProcessClock::of(pid)));
        self.kept.push(Kept { child, handle, errors, said: Vec::new(), process: Arc::clone(&process) });
        Ok(Started { process, socket })
    }

    /// Forgets those that have ended, and says how.
    fn bury(&mut self) {
        let spare_ended = |spare: &mut Started| {
            let kept = self.kept.iter().find(|kept| Arc::ptr_eq(&kept.process, &spare.process));
            kept.is_none_or(|kept| has_ended(&kept.handle))
        };
        if self.spare.take_if(spare_ended).is_some() {
            // The next would end in the same way.
            self.keeps_spare = false;
        }
        self.kept.retain_mut(|kept| {
            let has_ended = has_ended(&kept.handle);
            if has_ended {
                kept.bury(&self.ended);
            }
            !has_ended
        });
    }

    fn close(mut self) {
        drop(self.spare.take());
        for kept in &mut self.kept {
            kept.process.kill(Why::Unneeded);
            kept.bury(&self.ended);
        }
    }
}

fn has_ended(handle: &OwnedFd) -> bool {
    let mut ready = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
    poll(&mut ready, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

impl Kept {
    /// Takes what the process says; what is too much is read all the same.
    fn listen(&mut self) {
        let Some(errors) = &mut self.errors else { return };
        let mut piece = [0; 1 << 10];
        // Bounded, since one that never stops talking is not to keep the others waiting.
        for _ in 0..64 {
            match errors.read(&mut piece) {
                Ok(count) if count > 0 => {
                    let room = MAX_SAID_BYTES - self.said.len();
                    self.said.extend_from_slice(&piece[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => return self.errors = None,
            }
        }
    }

    fn bury(&mut self, ended: &AtomicU64) {
        self.listen();
        let said = String::from_utf8_lossy(&self.said);
        let said = said.trim();
        // The number of the process is free once it is waited for, so whoever reads its clock is told before.
        let (ending, status) = match wait_without_reaping(&self.handle) {
            Some(status) => (ending_of(&self.process, status, said), status.to_string()),
            None => (Ending::Other("an unknown status".into()), String::new()),
        };
        if !matches!(ending, Ending::Killed(Why::Unneeded | Why::Left)) {
            ended.fetch_add(1, Ordering::Relaxed);
        }
        match &ending {
            Ending::Killed(why @ (Why::Unneeded | Why::Left)) => {
                tracing::debug!(?why, "a worker process was ended");
            }
            Ending::Killed(why) => {
                let tenant = self.process.tenant().map(tracing::field::display);
                tracing::warn!(tenant, ?why, said, "a worker process was ended");
            }
            _ => {
                let tenant = self.process.tenant().map(tracing::field::display);
                tracing::warn!(tenant, status, said, "a worker process ended");
            }
        }
        self.process.end(ending);
        if let Err(error) = self.child.wait() {
            tracing::error!(%error, "cannot wait for a worker process");
        }
    }
}

/// The status of a process that has ended or is about to, whose number stays taken.
fn wait_without_reaping(handle: &OwnedFd) -> Option<ExitStatus> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(handle.as_fd()), options)).ok()??;
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, Some(signal)) => signal | if status.dumped() { 0x80 } else { 0 },
        (None, None) => return None,
    };
    Some(ExitStatus::from_raw(raw))
}

fn ending_of(process: &Process, status: ExitStatus, said: &str) -> Ending {
    if let Some(why) = process.killed() {
        return Ending::Killed(why.clone());
    }
    if status.signal() == Some(Signal::ABORT.as_raw()) && NO_MEMORY.iter().any(|sign| said.contains(sign)) {
        return Ending::OutOfMemory;
    }
    Ending::Other(status.to_string())
}
