//! The worker process, seen from inside.
//!
//! It loads what it needs, confines itself, and says that it is ready; only then does it get anything of a
//! tenant's. A thread waits for what is said on the first socket, and each lane is a thread that does one
//! thing after another. It has no runtime and no logger, and ends when the host's end of the first socket
//! is gone.
//!
//! ONNX Runtime is loaded before, and started after: with its environment it starts a thread, and Landlock
//! holds only for threads that are started later. So it finds no `/proc/cpuinfo`, and says so on standard
//! error; on x86-64 it asks the processor itself.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use modelet_confinement::Work;

use super::socket;
use super::wire::{MESSAGE_BYTES, Note, Ready};
use crate::backend::BackendSession;
use crate::backend::onnxruntime::{LoadedRuntime, OnnxRuntime};
use crate::backend::rten::{self, Rten};
use lane::{Calls, Lane};

mod lane;

/// What a program is given before the orders, to become this process.
pub(super) const ARGUMENT: &str = "model-worker";

/// Descriptors of the process: the first socket, a lane for each thread of the host that may ask, and what
/// comes with a message. A host with more threads than this has room for gets errors beyond.
const DESCRIPTORS: u64 = 4096;

/// Memory of a thread that only waits.
const WAITING_STACK_BYTES: usize = 256 << 10;

/// What the host wants of the process, as its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) parent: u32,
    pub(super) memory_bytes: u64,
    /// The library of ONNX Runtime, if there is one.
    pub(super) onnxruntime: Option<PathBuf>,
}

impl Orders {
    pub(super) fn to_arguments(&self) -> Vec<OsString> {
        let Self { parent, memory_bytes, onnxruntime } = self;
        let mut arguments =
            vec![format!("parent={parent}").into(), format!("memory_bytes={memory_bytes}").into()];
        arguments.extend(onnxruntime.as_ref().map(|path| {
            let mut argument = OsString::from("onnxruntime=");
            argument.push(path);
            argument
        }));
        arguments
    }

    /// Reads what [`Orders::to_arguments`] writes.
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        fn value<'a>(argument: &'a OsStr, key: &str) -> Option<&'a [u8]> {
            argument.as_bytes().strip_prefix(key.as_bytes())?.strip_prefix(b"=")
        }
        fn number<T: std::str::FromStr>(argument: &OsStr, key: &str) -> Option<T> {
            str::from_utf8(value(argument, key)?).ok()?.parse().ok()
        }
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let (parent, memory_bytes, rest) = match &arguments[..] {
            [parent, memory_bytes, rest @ ..] => (parent, memory_bytes, rest),
            _ => return None,
        };
        let onnxruntime = match rest {
            [] => None,
            [path] => Some(OsString::from_vec(value(path, "onnxruntime")?.to_vec()).into()),
            _ => return None,
        };
        Some(Self {
            parent: number(parent, "parent")?,
            memory_bytes: number(memory_bytes, "memory_bytes")?,
            onnxruntime,
        })
    }
}

/// Loads and runs the models of one tenant and ends the process, if this program's arguments begin with
/// `model-worker`. The host is at the other end of standard input.
///
/// For the beginning of `main`, before the process has a second thread or opens anything.
pub fn model_worker_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument != ARGUMENT) {
        return;
    }
    process::exit(match work(arguments) {
        Ok(()) => 0,
        Err(error) => {
            // Nobody is left to tell if this fails too.
            _ = writeln!(io::stderr(), "{error}");
            1
        }
    })
}

/// How much lower the priority of a process is than the host's (setpriority(2)).
const NICE: i32 = 5;

fn work(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Box<dyn std::error::Error>> {
    let orders = Orders::parse(arguments)
        .ok_or("the arguments are not those of a host of this version, which alone starts this command")?;
    // What computes for tenants comes after what answers them. Where that is not allowed, it competes.
    _ = rustix::process::nice(NICE);
    let begun = modelet_confinement::begin(orders.parent, orders.memory_bytes)?;
    let loaded = orders.onnxruntime.as_deref().map(LoadedRuntime::load).transpose()?;
    let confined =
        begun.finish(Work::Messages { descriptors: DESCRIPTORS, file_bytes: orders.memory_bytes })?;
    let onnxruntime = loaded.map(LoadedRuntime::start).transpose()?;
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    socket::send(socket, &Ready { layers: confined.layers() }.to_bytes(), None)?;
    let inside = Arc::new(Inside {
        rten: Rten::default(),
        onnxruntime,
        sessions: RwLock::default(),
        lanes: Mutex::default(),
    });
    let mut buffer = [0; MESSAGE_BYTES];
    loop {
        let (length, along) = socket::receive_with(socket, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        match Note::read(&buffer[..length])? {
            Note::Lane(number) => inside.open(number, along.ok_or("a lane without a socket")?)?,
            Note::Cancel { lane, number } => {
                let calls = inside.lanes().get(&lane).cloned();
                calls.into_iter().for_each(|calls| calls.cancel(number));
            }
            Note::Unload(session) => inside.remove(session),
        }
    }
}

/// What all lanes use.
struct Inside {
    rten: Rten,
    onnxruntime: Option<OnnxRuntime>,
    sessions: RwLock<HashMap<u64, Arc<dyn BackendSession>>>,
    lanes: Mutex<HashMap<u32, Arc<Calls>>>,
}

impl Inside {
    /// Starts the thread of a lane, surrounded as the host's are that run models.
    fn open(self: &Arc<Self>, number: u32, socket: OwnedFd) -> io::Result<()> {
        let (inside, calls) = (Arc::clone(self), Arc::new(Calls::default()));
        self.lanes().insert(number, Arc::clone(&calls));
        let serve = move || {
            let mut lane = Lane::new(&inside, &calls, socket);
            rten::surround(&mut || lane.serve());
            inside.lanes().remove(&number);
        };
        // It waits for the thread that it is surrounded with, which does the work.
        let thread =
            std::thread::Builder::new().name(format!("lane-{number}")).stack_size(WAITING_STACK_BYTES);
        thread.spawn(serve)?;
        Ok(())
    }

    fn session(&self, number: u64) -> Option<Arc<dyn BackendSession>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn insert(&self, number: u64, session: Arc<dyn BackendSession>) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(number, session);
    }

    fn remove(&self, number: u64) {
        // Bound, so that a session is freed after the lock.
        let _removed = self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<u32, Arc<Calls>>> {
        // Nothing panics while it holds the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        for onnxruntime in [None, Some("/some where/libonnxruntime.so".into())] {
            let orders = Orders { parent: 7, memory_bytes: 1 << 40, onnxruntime };
            assert_eq!(Orders::parse(orders.to_arguments()), Some(orders.clone()));
            let mut arguments = orders.to_arguments();
            arguments.swap(0, 1);
            assert_eq!(Orders::parse(arguments), None);
        }
        assert_eq!(Orders::parse(["--help".into()]), None);
    }
}
