//! One lane of a worker process: a thread that does what is asked, one thing after another.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use modelet_types::Tensor;
use modelet_types::manifest::Device;

use super::super::tensors::{Packed, unpack};
use super::super::wire::{Answer, Body, Broken, Failure, INLINE_BYTES, MESSAGE_BYTES, Reader, Request};
use super::super::{memory, socket};
use super::Inside;
use crate::backend::{Backend, BackendId, BackendSession, LoadRequest};
use crate::session::panic_message;
use crate::{Control, InferenceError, ModelFile, cpu_time, onnx};

/// The host watches the time, and says when a run is to stop.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Which run of a lane goes on, for the thread that hears of cancellations.
#[derive(Default)]
pub(super) struct Calls(Mutex<State>);

#[derive(Default)]
struct State {
    running: Option<(u64, Arc<Control>)>,
    /// The last that was cancelled, which may not have begun.
    cancelled: Option<u64>,
}

impl Calls {
    /// Stops a run, now or as soon as it begins.
    pub(super) fn cancel(&self, number: u64) {
        let control = {
            let mut state = self.lock();
            state.cancelled = Some(number);
            state.running.as_ref().filter(|(running, _)| *running == number).map(|(_, c)| Arc::clone(c))
        };
        if let Some(control) = control {
            control.cancel();
        }
    }

    fn begin(&self, number: u64) -> Arc<Control> {
        let control = Arc::new(Control::new(Instant::now() + FOR_EVER));
        let mut state = self.lock();
        if state.cancelled == Some(number) {
            control.cancel();
        }
        state.running = Some((number, Arc::clone(&control)));
        control
    }

    fn end(&self) {
        self.lock().running = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Lane<'a> {
    inside: &'a Inside,
    calls: &'a Calls,
    socket: OwnedFd,
    answer: Vec<u8>,
}

impl<'a> Lane<'a> {
    pub(super) fn new(inside: &'a Inside, calls: &'a Calls, socket: OwnedFd) -> Self {
        Self { inside, calls, socket, answer: Vec::new() }
    }

    /// Answers until the host's end is gone.
    pub(super) fn serve(&mut self) {
        let mut buffer = [0; MESSAGE_BYTES];
        while let Ok((length @ 1.., along)) = socket::receive_with(&self.socket, &mut buffer) {
            // Of a host that cannot be understood, nothing more is wanted; it sees the lane's end.
            if self.serve_one(&buffer[..length], along.map(File::from)).is_err() {
                return;
            }
        }
    }

    fn serve_one(&mut self, message: &[u8], along: Option<File>) -> io::Result<()> {
        let request = Request::read(message).map_err(io::Error::other)?;
        match request {
            Request::Load { session, bytes, backend, threads, may_narrow } => {
                let begin = cpu_time::of_this_thread();
                let file = along.ok_or_else(|| io::Error::other("a load without a file"))?;
                let loaded = guarded(|| {
                    let file = Arc::new(ModelFile::of_host(&file, bytes)?);
                    self.inside.load(&file, backend, threads, may_narrow)
                });
                let answer = match loaded {
                    Ok(loaded) => {
                        self.inside.insert(session, loaded);
                        Answer::Loaded { cpu_nanos: nanos(cpu_time::of_this_thread() - begin) }
                    }
                    Err(failure) => Answer::Failed(failure),
                };
                self.say(&answer)
            }
            Request::Run { session, number, body } => {
                let control = self.calls.begin(number);
                let ran = guarded(|| self.run(session, body, along.as_ref(), &control));
                self.calls.end();
                match ran {
                    Ok((outputs, cpu_time)) => self.give(&outputs, cpu_time),
                    Err(failure) => {
                        if failure.takes_the_session() {
                            self.inside.remove(session);
                        }
                        self.say(&Answer::Failed(failure))
                    }
                }
            }
            Request::Fill => Err(io::Error::other("there is nothing to be written")),
        }
    }

    fn run(
        &self,
        session: u64,
        body: Body<'_>,
        along: Option<&File>,
        control: &Control,
    ) -> Result<(Vec<Tensor>, Duration), InferenceError> {
        let host = |reason: String| InferenceError::Host { context: "a run in a worker process", reason };
        let session = self.inside.session(session).ok_or_else(|| host("there is no such session".into()))?;
        let all = match (body, along) {
            (Body::Inline(bytes), _) => Bytes::copy_from_slice(bytes),
            (Body::Shared(length), Some(memory)) => usize::try_from(length)
                .map_err(io::Error::other)
                .and_then(|length| memory::sent(memory, length))
                .map_err(|error| host(format!("cannot map the inputs: {error}")))?,
            (Body::Shared(_), None) => return Err(host("there is no memory with the inputs".into())),
        };
        let (outputs, inputs) = inputs(&all).map_err(|broken| host(broken.to_string()))?;
        let run = session.run(&inputs, &outputs, control)?;
        Ok((run.outputs, run.cpu_time))
    }

    /// Answers with outputs: in the message, or into memory that the host makes for them.
    fn give(&mut self, outputs: &[Tensor], cpu_time: Duration) -> io::Result<()> {
        let packed = Packed::new(b"", outputs);
        let cpu_nanos = nanos(cpu_time);
        if packed.len() <= INLINE_BYTES {
            return self.say(&Answer::Ran { cpu_nanos, body: Body::Inline(&packed.to_vec()) });
        }
        self.say(&Answer::Ran { cpu_nanos, body: Body::Shared(packed.len() as u64) })?;
        let mut message = [0; 16];
        let (length, memory) = socket::receive_with(&self.socket, &mut message)?;
        match (Request::read(&message[..length]), memory) {
            (Ok(Request::Fill), Some(memory)) => packed.write_to(&File::from(memory))?,
            _ => return Err(io::Error::other("there is no memory for the outputs")),
        }
        self.say(&Answer::Filled)
    }

    fn say(&mut self, answer: &Answer<'_>) -> io::Result<()> {
        answer.write(&mut self.answer);
        socket::send(&self.socket, &self.answer, None)
    }
}

impl Inside {
    fn load(
        &self,
        file: &Arc<ModelFile>,
        backend: BackendId,
        threads: u32,
        may_narrow: bool,
    ) -> Result<Arc<dyn BackendSession>, InferenceError> {
        // The host has read the same; here it is read again, so that nothing of it has to be sent.
        let facts = onnx::read(file)?;
        let threads = usize::try_from(threads).unwrap_or(1);
        let request =
            LoadRequest { file, facts: &facts, device: Device::Cpu, threads, may_narrow, digest: None };
        let loaded = match (backend, &self.onnxruntime) {
            (BackendId::Rten, _) => self.rten.load(&request),
            (BackendId::Onnxruntime, Some(onnxruntime)) => onnxruntime.load(&request),
            (BackendId::Onnxruntime, None) => Err(InferenceError::BackendUnavailable {
                backend,
                reason: "the host has not said where it is".into(),
            }),
        };
        loaded.map(Arc::from)
    }
}

/// The outputs that are asked for, and the inputs.
fn inputs(all: &Bytes) -> Result<(Vec<usize>, Vec<Tensor>), Broken> {
    let mut reader = Reader(all);
    let count = reader.u32()?;
    let outputs = (0..count).map(|_| Ok(reader.u32()? as usize)).collect::<Result<_, Broken>>()?;
    Ok((outputs, unpack(all, reader)?))
}

fn guarded<T>(work: impl FnOnce() -> Result<T, InferenceError>) -> Result<T, Failure> {
    // After a panic the session is not used again, so a broken invariant in it cannot show.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Failure::from),
        Err(panic) => Err(Failure::Panicked(panic_message(&*panic).to_owned())),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
