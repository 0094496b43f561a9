//! Why a process that was to compile gave no answer, and what the deployer is told.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use modelet_types::{Code, Problem};
use rustix::process::Signal;

use super::answer::{Broken, MAX_CODE_BYTES};
use super::worker::OUT_OF_MEMORY;
use crate::config::CompileConfig;

/// How Rust announces that it ends the process for want of memory. There is no other sign of it.
const NO_MEMORY: &str = "memory allocation of ";

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Ending {
    /// It was not started, or is not to be waited for.
    Start(io::Error),
    /// Nobody wants the code any longer.
    Stopped,
    /// It took too long.
    Late,
    /// It used its CPU time up.
    CpuTime,
    /// It needed more memory than it may have.
    OutOfMemory,
    /// The code is too large.
    TooMuchCode,
    /// The code cannot be kept.
    Code(io::Error),
    /// It ended with an error, or was ended.
    Status { status: ExitStatus, said: String },
    /// It answered what is no answer.
    Answer(Broken),
}

impl From<Broken> for Ending {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::TooMuchCode => Self::TooMuchCode,
            Broken::Write(error) => Self::Code(error),
            broken => Self::Answer(broken),
        }
    }
}

impl Ending {
    /// What `status`, which is no success, tells.
    pub(super) fn of(status: ExitStatus, said: String) -> Self {
        let signal = status.signal();
        if signal == Some(Signal::XCPU.as_raw()) {
            return Self::CpuTime;
        }
        let aborted = signal == Some(Signal::ABORT.as_raw());
        if status.code() == Some(OUT_OF_MEMORY) || (aborted && said.contains(NO_MEMORY)) {
            return Self::OutOfMemory;
        }
        Self::Status { status, said }
    }

    /// Whether the operator should know.
    pub(super) fn is_unforeseen(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Status { .. } | Self::Answer(_))
    }

    /// What the deployer is told.
    pub(super) fn problem(&self, config: &CompileConfig) -> Problem {
        let limit = |needs: String| {
            let detail = format!(
                "compiling the component {needs}: make it smaller, with fewer and shorter functions, or \
                 ask the operator to raise the limit"
            );
            Problem::new(Code::CompileLimitExceeded, detail)
        };
        let problem = match self {
            Self::Late => {
                let ms = config.wall_time.as_millis();
                limit(format!("takes longer than this host allows, {ms} ms (compile.wall_time_ms)"))
            }
            Self::CpuTime => {
                let ms = config.cpu_time.as_millis();
                limit(format!("takes more CPU time than this host allows, {ms} ms (compile.cpu_time_ms)"))
            }
            Self::OutOfMemory => {
                let bytes = config.memory_bytes;
                limit(format!(
                    "needs more memory than this host allows, {bytes} bytes (compile.memory_bytes)"
                ))
            }
            Self::TooMuchCode => limit(format!("gives more than {MAX_CODE_BYTES} bytes of machine code")),
            Self::Stopped => Problem::new(Code::Cancelled, "whoever wanted the component compiled has left"),
            Self::Start(_) | Self::Code(_) | Self::Status { .. } | Self::Answer(_) => {
                let detail = "the process that compiles the component broke off; deploy again, and if that \
                              fails too, the host's log has the reason";
                Problem::new(Code::CompileFailed, detail)
            }
        };
        problem.at("component")
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "it cannot be started: {error}"),
            Self::Stopped => f.write_str("it was stopped"),
            Self::Late => f.write_str("it took too long"),
            Self::CpuTime => f.write_str("it used up its CPU time"),
            Self::OutOfMemory => f.write_str("its memory does not suffice"),
            Self::TooMuchCode => f.write_str("it gave too much code"),
            Self::Code(error) => write!(f, "the code cannot be kept: {error}"),
            Self::Status { status, said } if said.is_empty() => write!(f, "it ended with {status}"),
            Self::Status { status, said } => write!(f, "it ended with {status} and said: {said}"),
            Self::Answer(Broken::Read(error)) => write!(f, "its answer cannot be read: {error}"),
            Self::Answer(broken) => write!(f, "its answer is not one: {broken}"),
        }
    }
}
