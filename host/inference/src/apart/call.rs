//! One call over a lane: it is asked, waited for, and at its end stopped, if need be with the whole process.
//!
//! The thread that asks waits itself, so that a call costs no more than two changes of threads.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::memory::Memory;
use super::process::{Process, Wanted, Why};
use super::socket;
use super::wire::{MESSAGE_BYTES, Note};
use crate::{Control, InferenceError};

/// How long a run that was told to stop may take for that before its process may be ended. ONNX Runtime takes
/// some 4 ms; rten goes on to its end.
const GRACE: Duration = Duration::from_secs(1);

/// How long a run whose caller has left may go on although it costs nobody anything to end it: longer than most
/// runs take, and not as long as a function may be allowed.
const LEFT: Duration = Duration::from_secs(10);

/// How often a run whose caller has left is looked at, once it may be ended.
const LOOK: Duration = Duration::from_millis(100);

/// A thread of a process, and the way to it.
pub(super) struct Lane {
    pub(super) number: u32,
    /// Runs so far.
    pub(super) runs: u64,
    /// For tensors that are not in messages.
    pub(super) memory: Option<Memory>,
    socket: OwnedFd,
    /// What wakes the thread that waits here when its call is to stop.
    wake: Arc<OwnedFd>,
    answer: Box<[u8]>,
}

/// The process of a call, and what it takes to stop the call.
pub(super) struct Stop<'a> {
    pub(super) process: &'a Process,
    /// The process's first socket.
    pub(super) notes: BorrowedFd<'a>,
    pub(super) control: &'a Control,
    /// Whether somebody waits for the thread that the call has.
    pub(super) is_in_the_way: &'a (dyn Fn() -> bool + Send + Sync),
    /// Until its caller leaves.
    pub(super) wanted: Wanted<'a>,
    /// Set once the call was told to stop.
    pub(super) stopped: Option<Instant>,
}

impl Stop<'_> {
    /// When the call is looked at next, whatever happens.
    fn next_look(&self) -> Instant {
        match self.stopped {
            None => self.control.deadline(),
            Some(stopped) if Instant::now() < stopped + GRACE => stopped + GRACE,
            Some(_) => self.must_end().min(Instant::now() + LOOK),
        }
    }

    /// When the call is ended whatever that costs.
    fn must_end(&self) -> Instant {
        self.control.deadline() + GRACE
    }

    /// Ends the process if the call has to end that was told to `stopped` ago; says whether it did.
    ///
    /// At its deadline it has to, although it may cost others of the tenant their runs. One whose caller has
    /// left goes on till then, since it may end any moment, and the next process would have to load all models
    /// again; unless that costs nobody anything, because nothing else runs in the process that anybody waits for,
    /// and somebody waits for the thread, or it has gone on for long.
    fn end(&self, stopped: Instant) -> bool {
        if stopped.elapsed() < GRACE {
            return false;
        }
        if Instant::now() >= self.must_end() {
            self.process.kill(Why::Late);
            return true;
        }
        let is_due = stopped.elapsed() >= LEFT || (self.is_in_the_way)();
        is_due && self.process.kill_unwanted(Why::Left)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The process was closed before it was asked: nobody wanted anything of it any more.
    Closed,
    /// The process is gone.
    Lost,
    /// The call was stopped, at the cost of the process.
    Stopped(InferenceError),
    /// The host could not ask.
    Host(io::Error),
}

impl Lane {
    pub(super) fn new(number: u32, socket: OwnedFd) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self { number, runs: 0, memory: None, socket, wake, answer: vec![0; MESSAGE_BYTES].into() })
    }

    /// What is to be called when the call stops.
    pub(super) fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let wake = Arc::clone(&self.wake);
        Arc::new(move || _ = rustix::io::write(&*wake, &1_u64.to_ne_bytes()))
    }

    /// Asks with the lane's memory, and waits for the answer.
    pub(super) fn ask_with_memory(&mut self, message: &[u8], stop: &mut Stop<'_>) -> Result<&[u8], NoAnswer> {
        self.send(message, self.memory.as_ref().map(|memory| memory.as_fd()))?;
        self.answer(stop)
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(
        &mut self,
        message: &[u8],
        along: Option<BorrowedFd<'_>>,
        stop: &mut Stop<'_>,
    ) -> Result<&[u8], NoAnswer> {
        self.send(message, along)?;
        self.answer(stop)
    }

    fn send(&self, message: &[u8], along: Option<BorrowedFd<'_>>) -> Result<(), NoAnswer> {
        socket::send_now(&self.socket, message, along).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => NoAnswer::Lost,
            // A lane has one message at a time, for which there is room.
            _ => NoAnswer::Host(error),
        })
    }

    fn answer(&mut self, stop: &mut Stop<'_>) -> Result<&[u8], NoAnswer> {
        self.wait(stop)?;
        match socket::receive(&self.socket, &mut self.answer) {
            Ok(0) => Err(NoAnswer::Lost),
            Ok(length) => Ok(&self.answer[..length]),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(&[]),
            Err(_) => Err(NoAnswer::Lost),
        }
    }

    /// Waits until something has come, or the process is ended.
    fn wait(&self, stop: &mut Stop<'_>) -> Result<(), NoAnswer> {
        loop {
            let left = stop.next_look().saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut ready =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&*self.wake, PollFlags::IN)];
            match poll(&mut ready, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(NoAnswer::Host(error.into())),
            }
            let [answered, woken] = ready.map(|ready| !ready.revents().is_empty());
            if answered {
                return Ok(());
            }
            if woken {
                _ = rustix::io::read(&*self.wake, &mut [0; 8]);
            }
            // It may have been woken for the call before this one.
            let Err(error) = stop.control.check() else { continue };
            match stop.stopped {
                None => {
                    stop.stopped = Some(Instant::now());
                    stop.wanted.leave();
                    let cancel = Note::Cancel { lane: self.number, number: self.runs };
                    // A process that does not read it is ended below.
                    _ = socket::send_now(stop.notes, &cancel.to_bytes(), None);
                }
                Some(stopped) if stop.end(stopped) => return Err(NoAnswer::Stopped(error)),
                Some(_) => {}
            }
        }
    }
}
