//! The process that compiles, seen from inside.
//!
//! It is made to do this once and then to end: no runtime, no logger, no pool of instances.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::{process, thread};

use modelet_confinement::{Confined, Limits, confine};
use modelet_types::{Code, Problem};

use super::answer;
use crate::compile::{Compiler, Failed};
use crate::config::CompileConfig;

/// What a program is given before the orders, to become this process.
pub(super) const ARGUMENT: &str = "compile-worker";

/// How the process ends when wasmtime itself says that memory does not suffice.
pub(super) const OUT_OF_MEMORY: i32 = 12;

/// Memory for each thread that compiles: its stack, and one function of some size.
const BYTES_PER_THREAD: u64 = 64 << 20;

/// What the host wants of the process, as its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    parent: u32,
    component_bytes: u64,
    memory_bytes: u64,
    cpu_seconds: u64,
    require_confinement: bool,
}

impl Orders {
    pub(super) fn new(config: &CompileConfig, component_bytes: u64) -> Self {
        Self {
            parent: std::process::id(),
            component_bytes,
            memory_bytes: config.memory_bytes,
            cpu_seconds: config.cpu_time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
            require_confinement: config.require_confinement,
        }
    }

    pub(super) fn to_arguments(&self) -> [String; 5] {
        let Self { parent, component_bytes, memory_bytes, cpu_seconds, require_confinement } = self;
        [
            format!("parent={parent}"),
            format!("component_bytes={component_bytes}"),
            format!("memory_bytes={memory_bytes}"),
            format!("cpu_seconds={cpu_seconds}"),
            format!("require_confinement={require_confinement}"),
        ]
    }

    /// Reads what [`Orders::to_arguments`] writes.
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let [parent, component_bytes, memory_bytes, cpu_seconds, require_confinement] = &arguments[..] else {
            return None;
        };
        fn value<T: std::str::FromStr>(argument: &OsStr, key: &str) -> Option<T> {
            argument.to_str()?.strip_prefix(key)?.strip_prefix('=')?.parse().ok()
        }
        Some(Self {
            parent: value(parent, "parent")?,
            component_bytes: value(component_bytes, "component_bytes")?,
            memory_bytes: value(memory_bytes, "memory_bytes")?,
            cpu_seconds: value(cpu_seconds, "cpu_seconds")?,
            require_confinement: value(require_confinement, "require_confinement")?,
        })
    }
}

/// Compiles one component and ends the process, if this program's arguments begin with
/// `compile-worker`. The component comes on standard input, and the answer goes to standard output.
///
/// For the beginning of `main`, before the process has a second thread or opens anything.
pub fn compile_worker_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument != ARGUMENT) {
        return;
    }
    process::exit(match work(arguments) {
        Ok(()) => 0,
        Err(Failure::OutOfMemory) => OUT_OF_MEMORY,
        Err(Failure::Other(error)) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    })
}

enum Failure {
    OutOfMemory,
    Other(Box<dyn std::error::Error>),
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

fn work(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let orders = Orders::parse(arguments)
        .ok_or("the arguments are not those of a host of this version, which alone starts this command")?;
    // Asked while the files can be read that tell how much of the machine is this process's.
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let limits = Limits { memory_bytes: orders.memory_bytes, cpu_seconds: orders.cpu_seconds };
    let confined = confine(orders.parent, &limits)?;
    let mut output = io::stdout().lock();
    if orders.require_confinement && !confined.layers().are_complete() {
        answer::write_problem(&mut output, confined.layers(), &not_confined(&confined))?;
        return Ok(output.flush()?);
    }
    let threads = threads.min(usize::try_from(orders.memory_bytes / BYTES_PER_THREAD)?).max(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let compiler = Compiler::new(&confined).map_err(|error| format!("{error:#}"))?;
    let wasm = component(orders.component_bytes)?;
    match compiler.compile(&wasm) {
        Ok(code) => answer::write_code(&mut output, confined.layers(), &code)?,
        Err(Failed::Problem(problem)) => answer::write_problem(&mut output, confined.layers(), &problem)?,
        Err(Failed::OutOfMemory) => return Err(Failure::OutOfMemory),
    }
    Ok(output.flush()?)
}

fn component(bytes: u64) -> Result<Vec<u8>, Failure> {
    let mut wasm = Vec::with_capacity(usize::try_from(bytes)?);
    io::stdin().lock().take(bytes).read_to_end(&mut wasm)?;
    if wasm.len() as u64 != bytes {
        return Err("the component is shorter than it was".into());
    }
    Ok(wasm)
}

fn not_confined(confined: &Confined) -> Problem {
    let missing = match (confined.layers().landlock, confined.layers().seccomp) {
        (false, true) => "Landlock is",
        (true, false) => "seccomp is",
        _ => "Landlock and seccomp are",
    };
    let detail = format!(
        "{missing} missing on this machine, and compile.confinement is `required`: use a kernel and a \
         container that have them, or set it to `best_effort`"
    );
    Problem::new(Code::Internal, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let config =
            CompileConfig { cpu_time: std::time::Duration::from_millis(1), ..CompileConfig::default() };
        let orders = Orders::new(&config, 7);
        assert_eq!(orders.cpu_seconds, 1);
        assert_eq!(Orders::parse(orders.to_arguments().map(Into::into)), Some(orders.clone()));
        let mut arguments = orders.to_arguments();
        arguments.swap(0, 1);
        assert_eq!(Orders::parse(arguments.map(Into::into)), None);
        assert_eq!(Orders::parse(["--help".into()]), None);
    }
}
