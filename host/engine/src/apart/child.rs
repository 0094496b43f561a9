//! One process that compiles, from its start to its end.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::answer::{self, Answer, Broken};
use super::ending::Ending;
use super::worker::{ARGUMENT, Orders};
use crate::config::CompileConfig;

/// The most that is kept of what it says on standard error: the message of a panic.
const MAX_SAID_BYTES: usize = 2 << 10;

/// Has a component of `bytes` bytes, which `input` gives, compiled, and its code written to `code`.
/// Returns when the process is gone. It is ended when the other end of `stop` is closed, and with the
/// thread that calls this.
pub(super) fn run(
    config: &CompileConfig,
    input: Stdio,
    bytes: u64,
    stop: PipeReader,
    code: &mut impl Write,
) -> Result<Answer, Ending> {
    let mut command = Command::new(&config.program);
    command.arg(ARGUMENT).args(Orders::new(config, bytes).to_arguments()).env_clear();
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(Ending::Start)?;
    // The command holds the input, which nobody but the child should.
    drop(command);
    let mut running = Running::new(child, stop, Instant::now() + config.wall_time).map_err(Ending::Start)?;
    let answer = match answer::read(&mut running, code) {
        // An answer that broke off is explained by how the process ended.
        Err(Broken::Truncated) => None,
        Ok(answer) => Some(answer),
        Err(broken) => return Err(running.halted.take().unwrap_or_else(|| broken.into())),
    };
    if running.wait_for(Event::Exit).is_err() {
        return Err(running.halted.take().expect("a wait that fails says why"));
    }
    let (status, said) = running.end().map_err(Ending::Start)?;
    match answer {
        Some(answer) if status.success() => Ok(answer),
        None if status.success() => Err(Broken::Truncated.into()),
        _ => Err(Ending::of(status, said)),
    }
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq)]
enum Event {
    Output,
    Exit,
}

/// The process and what connects the host with it. Reading it reads its output. Dropping it ends it.
struct Running {
    child: Child,
    exit: OwnedFd,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    said: Vec<u8>,
    stop: PipeReader,
    deadline: Instant,
    /// Why the host does not wait any longer.
    halted: Option<Ending>,
}

impl Running {
    fn new(mut child: Child, stop: PipeReader, deadline: Instant) -> io::Result<Self> {
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let exit = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        match (output, exit) {
            (Some(output), Ok(exit)) => {
                Ok(Self { child, exit, output, errors, said: Vec::new(), stop, deadline, halted: None })
            }
            (_, exit) => {
                child.kill()?;
                child.wait()?;
                Err(exit.map_or_else(Into::into, |_| io::Error::other("its output is not piped")))
            }
        }
    }

    /// Waits for `event`, and reads meanwhile what the process says on standard error, so that it does
    /// not wait for a reader.
    fn wait_for(&mut self, event: Event) -> io::Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.halt(Ending::Late);
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let awaited = match event {
                Event::Output => self.output.as_fd(),
                Event::Exit => self.exit.as_fd(),
            };
            let errors = self.errors.as_ref().map_or(awaited, |errors| errors.as_fd());
            let mut ready =
                [self.stop.as_fd(), awaited, errors].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut ready, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return self.halt(Ending::Start(error.into())),
            }
            let [stop, awaited, errors] = ready.map(|fd| !fd.revents().is_empty());
            if stop {
                return self.halt(Ending::Stopped);
            }
            if errors && self.errors.is_some() {
                self.listen();
            }
            if awaited {
                return Ok(());
            }
        }
    }

    fn halt(&mut self, why: Ending) -> io::Result<()> {
        self.halted = Some(why);
        Err(io::Error::other("the host does not wait any longer"))
    }

    /// Takes a piece of what the process says; what is too much is read all the same.
    fn listen(&mut self) {
        let Some(errors) = &mut self.errors else { return };
        let mut piece = [0; 1 << 10];
        match errors.read(&mut piece) {
            Ok(count) if count > 0 => {
                let room = MAX_SAID_BYTES - self.said.len();
                self.said.extend_from_slice(&piece[..count.min(room)]);
            }
            _ => self.errors = None,
        }
    }

    /// How the process ended, which it has, and what it said.
    fn end(mut self) -> io::Result<(ExitStatus, String)> {
        // All is there that it wrote; a process of its own that goes on writing is not waited for.
        while self.errors.is_some() && self.said.len() < MAX_SAID_BYTES && self.has_said_more() {
            self.listen();
        }
        let status = self.child.wait()?;
        Ok((status, String::from_utf8_lossy(&self.said).trim().to_owned()))
    }

    fn has_said_more(&self) -> bool {
        let Some(errors) = &self.errors else { return false };
        let mut ready = [PollFd::new(errors, PollFlags::IN)];
        poll(&mut ready, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }
}

impl Read for Running {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.wait_for(Event::Output)?;
        self.output.read(bytes)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where it has ended, this does nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
