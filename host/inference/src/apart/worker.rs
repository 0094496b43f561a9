//! A tenant's worker process, as the host uses it: lanes, loads and runs, and what they cost.
//!
//! Everything that comes from it is checked against what was asked. A lie ends it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use modelet_confinement::Layers;
use modelet_types::{Tensor, TensorInfo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::broke::Broke;
use super::call::{Lane, NoAnswer, Stop};
use super::keeper::Started;
use super::memory::Memory;
use super::meter::Meter;
use super::process::{Process, Why};
use super::socket;
use super::tensors::{Packed, unpack};
use super::wire::{Answer, Body, INLINE_BYTES, Note, Reader, Ready, Request};
use crate::backend::{BackendId, BackendRun};
use crate::{Control, InferenceError};

/// How long a process may take from its start until it is ready.
const READY: Duration = Duration::from_secs(30);

/// CPU time that a process may use after its last call, to free what it needed.
const UNASKED: Duration = Duration::from_secs(5);

/// Says whether somebody waits for the thread of a call in a process.
pub(super) type InTheWay = Box<dyn Fn() -> bool + Send + Sync>;

/// A process that is ready.
pub(super) struct Worker {
    started: Started,
    is_in_the_way: InTheWay,
    layers: Layers,
    memory_bytes: u64,
    lanes: Mutex<Lanes>,
    sessions: AtomicU64,
    meter: Arc<Mutex<Meter>>,
}

#[derive(Default)]
struct Lanes {
    free: Vec<Lane>,
    opened: u32,
}

/// Why a call gave nothing.
pub(super) enum Unserved {
    /// Nothing was asked: the process was closed by then.
    Closed,
    /// What whoever asked is told; and whether the session is gone.
    Failed(InferenceError, bool),
}

/// What is loaded, beside the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) backend: BackendId,
    pub(super) threads: u32,
    pub(super) may_narrow: bool,
}

impl Worker {
    /// Waits until the process is ready.
    ///
    /// # Errors
    /// `Host` if it does not become ready, or is not confined as is required.
    pub(super) fn of(
        started: Started,
        memory_bytes: u64,
        require_confinement: bool,
        is_in_the_way: InTheWay,
    ) -> Result<Self, InferenceError> {
        let failed = |reason: &str| InferenceError::Host {
            context: "starting a worker process for models",
            reason: reason.to_owned(),
        };
        let mut ready = [PollFd::new(&started.socket, PollFlags::IN)];
        let timeout = Timespec::try_from(READY).ok();
        let polled = rustix::io::retry_on_intr(|| poll(&mut ready, timeout.as_ref()));
        if !polled.is_ok_and(|count| count > 0) {
            return Err(failed("it is not ready in time"));
        }
        let mut message = [0; 64];
        let length = match socket::receive(&started.socket, &mut message) {
            Ok(0) | Err(_) => {
                return Err(failed("it ended before it was ready; the host's log has what it said"));
            }
            Ok(length) => length,
        };
        let Ready { layers } = Ready::read(&message[..length])
            .map_err(|broken| failed(&format!("what it says is nothing: {broken}")))?;
        if require_confinement && !layers.are_complete() {
            let missing = match (layers.landlock, layers.seccomp) {
                (false, true) => "Landlock is",
                (true, false) => "seccomp is",
                _ => "Landlock and seccomp are",
            };
            return Err(failed(&format!(
                "{missing} missing on this machine, and inference.worker_confinement is `required`: use a \
                 kernel and a container that have them, or set it to `best_effort`"
            )));
        }
        Ok(Self {
            started,
            is_in_the_way,
            layers,
            memory_bytes,
            lanes: Mutex::default(),
            sessions: AtomicU64::new(0),
            meter: Arc::default(),
        })
    }

    /// What confines it.
    pub(super) fn layers(&self) -> Layers {
        self.layers
    }

    /// Whether it may answer still.
    pub(super) fn is_alive(&self) -> bool {
        self.started.process.is_alive()
    }

    /// The process itself.
    pub(super) fn process(&self) -> &Arc<Process> {
        &self.started.process
    }

    /// Why the host has ended it, if it has.
    pub(super) fn killed(&self) -> Option<&Why> {
        self.started.process.killed()
    }

    /// Loads a model, and gives the number of its session.
    pub(super) fn load(&self, load: Load, file: &File, control: &Control) -> Result<u64, Unserved> {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let Load { backend, threads, may_narrow } = load;
        self.call(control, |lane, stop| {
            let bytes = file.metadata().map_err(|error| Broke::NoAnswer(NoAnswer::Host(error)))?.len();
            let mut message = Vec::new();
            Request::Load { session, bytes, backend, threads, may_narrow }.write(&mut message);
            let answer = lane.ask(&message, Some(file.as_fd()), stop)?;
            match Answer::read(answer) {
                Ok(Answer::Loaded { cpu_nanos }) => Ok((session, Duration::from_nanos(cpu_nanos))),
                Ok(Answer::Failed(failure)) => Err(Broke::Failed(failure)),
                Ok(_) => Err(Broke::Lied("it was to load, and answers something else")),
                Err(broken) => Err(Broke::Lied(broken.0)),
            }
        })
        .map(|(session, _)| session)
        .map_err(|broke| self.explain(broke, backend, control, true))
    }

    /// Runs a session. `outputs` are indices into `infos`, the model's outputs.
    pub(super) fn run(
        &self,
        session: u64,
        backend: BackendId,
        inputs: &[Tensor],
        outputs: &[usize],
        infos: &[TensorInfo],
        control: &Control,
    ) -> Result<BackendRun, Unserved> {
        let prefix = prefix(outputs);
        let packed = Packed::new(&prefix, inputs);
        let ran = self.call(control, |lane, stop| {
            let tensors = ask_to_run(lane, session, &packed, self.memory_bytes, stop)?;
            let (tensors, cpu_time) = tensors;
            if tensors.len() != outputs.len() {
                return Err(Broke::Lied("it gives another number of outputs than were asked for"));
            }
            let is_declared =
                |(tensor, &output): (&Tensor, &usize)| tensor.element_type() == infos[output].element_type;
            if !tensors.iter().zip(outputs).all(is_declared) {
                return Err(Broke::Lied("it gives an output of another type than is declared"));
            }
            Ok((tensors, cpu_time))
        });
        ran.map(|(outputs, cpu_time)| BackendRun { outputs, cpu_time })
            .map_err(|broke| self.explain(broke, backend, control, false))
    }

    fn explain(&self, broke: Broke, backend: BackendId, control: &Control, is_load: bool) -> Unserved {
        if broke.is_closed() {
            return Unserved::Closed;
        }
        let is_gone = matches!(&broke, Broke::Failed(failure) if failure.takes_the_session());
        let error = broke.into_error(&self.started.process, self.memory_bytes, backend, control, is_load);
        Unserved::Failed(error, is_gone || !self.is_alive())
    }

    /// Forgets a session.
    pub(super) fn unload(&self, session: u64) {
        // A process that reads so little that there is no room is not one that is kept.
        if self.is_alive()
            && let Err(error) =
                socket::send_now(&self.started.socket, &Note::Unload(session).to_bytes(), None)
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.started.process.kill(Why::Lied("it does not read what it is told".into()));
        }
    }

    /// Ends the process if it computes although nothing was asked of it; and gives back what lanes keep, if
    /// nothing was since this was last called.
    pub(super) fn rest(&self) {
        let process = &self.started.process;
        if self.meter().has_rested() {
            self.lanes().free.iter_mut().for_each(|lane| lane.memory = None);
        }
        if let Some(now) = process.cpu_time()
            && self.meter().unasked(now) > UNASKED
        {
            process.kill(Why::Unasked);
        }
    }

    /// Makes a call over a lane of its own. Gives what `work` gives, with the CPU time that is charged.
    fn call<T>(
        &self,
        control: &Control,
        work: impl FnOnce(&mut Lane, &mut Stop<'_>) -> Result<(T, Duration), Broke>,
    ) -> Result<(T, Duration), Broke> {
        let process = &*self.started.process;
        let wanted = process.want().ok_or(NoAnswer::Closed)?;
        let mut lane = self.lane()?;
        let hook = control.is_watched().then(|| control.on_stop(lane.waker())).transpose();
        let _hook = match hook {
            Ok(hook) => hook,
            Err(error) => {
                // Nothing was asked, so the lane is as it was.
                self.lanes().free.push(lane);
                return Err(Broke::NoAnswer(NoAnswer::Stopped(error)));
            }
        };
        let notes = self.started.socket.as_fd();
        let is_in_the_way = &*self.is_in_the_way;
        let mut stop = Stop { process, notes, control, is_in_the_way, wanted, stopped: None };
        let now = process.cpu_time().unwrap_or_default();
        self.meter().begin(now);
        let measured = control.cost().measure({
            let (process, meter) = (Arc::clone(&self.started.process), Arc::clone(&self.meter));
            move || locked(&meter).so_far(process.cpu_time())
        });
        let done = work(&mut lane, &mut stop);
        let reported = done.as_ref().ok().map(|(_, reported)| *reported);
        let charge = self.meter().end(process.cpu_time(), reported);
        measured.end(charge);
        if matches!(done, Ok(_) | Err(Broke::Failed(_))) {
            lane.memory.take_if(|memory| memory.is_large());
            self.lanes().free.push(lane);
        } else if !self.is_alive() {
            // Who holds a session of it does not hold its descriptors.
            self.lanes().free.clear();
        }
        done.map(|(value, _)| (value, charge))
    }

    /// A lane that nobody uses.
    fn lane(&self) -> Result<Lane, Broke> {
        let number = {
            let mut lanes = self.lanes();
            if let Some(lane) = lanes.free.pop() {
                return Ok(lane);
            }
            lanes.opened += 1;
            lanes.opened
        };
        let open = || -> io::Result<Lane> {
            let (socket, theirs) = socket::pair()?;
            let lane = Lane::new(number, socket)?;
            socket::send_now(&self.started.socket, &Note::Lane(number).to_bytes(), Some(theirs.as_fd()))?;
            Ok(lane)
        };
        open().map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Broke::NoAnswer(NoAnswer::Lost),
            _ => Broke::NoAnswer(NoAnswer::Host(error)),
        })
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Nothing panics while it holds the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        locked(&self.meter)
    }
}

fn locked(meter: &Mutex<Meter>) -> MutexGuard<'_, Meter> {
    // Nothing panics while it holds the lock.
    meter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outputs that are asked for, before the inputs.
fn prefix(outputs: &[usize]) -> Vec<u8> {
    // A model has at most 4,096 outputs.
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    std::iter::once(number(outputs.len()))
        .chain(outputs.iter().map(|&output| number(output)))
        .flatten()
        .collect()
}

fn ask_to_run(
    lane: &mut Lane,
    session: u64,
    packed: &Packed<'_>,
    most_bytes: u64,
    stop: &mut Stop<'_>,
) -> Result<(Vec<Tensor>, Duration), Broke> {
    lane.runs += 1;
    let number = lane.runs;
    let host = |error: io::Error| Broke::NoAnswer(NoAnswer::Host(error));
    let lied = |broken: super::wire::Broken| Broke::Lied(broken.0);
    let mut message = Vec::new();
    let answer = if packed.len() <= INLINE_BYTES {
        Request::Run { session, number, body: Body::Inline(&packed.to_vec()) }.write(&mut message);
        lane.ask(&message, None, stop)?
    } else {
        let length = packed.len() as u64;
        Request::Run { session, number, body: Body::Shared(length) }.write(&mut message);
        Memory::of(&mut lane.memory, length).and_then(|memory| memory.write(packed)).map_err(host)?;
        lane.ask_with_memory(&message, stop)?
    };
    let (cpu_nanos, all) = match Answer::read(answer).map_err(lied)? {
        Answer::Ran { cpu_nanos, body: Body::Inline(bytes) } => (cpu_nanos, Bytes::copy_from_slice(bytes)),
        Answer::Ran { cpu_nanos, body: Body::Shared(length) } => {
            if length > most_bytes {
                return Err(Broke::Lied("its outputs are larger than its memory"));
            }
            // Before any memory of the host is taken for them. The lane goes, and what the process has with it.
            let most = stop.control.max_output_bytes();
            if length > most {
                return Err(Broke::TooLarge { length, most });
            }
            let bytes = usize::try_from(length).map_err(|error| host(io::Error::other(error)))?;
            Memory::of(&mut lane.memory, length).map_err(host)?;
            Request::Fill.write(&mut message);
            let answer = lane.ask_with_memory(&message, stop)?;
            match Answer::read(answer).map_err(lied)? {
                Answer::Filled => {}
                _ => return Err(Broke::Lied("it was to write its outputs, and answers something else")),
            }
            let all = Memory::of(&mut lane.memory, length).and_then(|memory| memory.copy(bytes));
            (cpu_nanos, all.map_err(host)?)
        }
        Answer::Failed(failure) => return Err(Broke::Failed(failure)),
        Answer::Loaded { .. } | Answer::Filled => {
            return Err(Broke::Lied("it was to run, and answers something else"));
        }
    };
    let tensors = unpack(&all, Reader(&all)).map_err(lied)?;
    Ok((tensors, Duration::from_nanos(cpu_nanos)))
}
