//! Compiling apart: a component is compiled by a process of its own, never by the host.
//!
//! wasmtime promises that a component which *runs* stays in its sandbox, but nothing about what a
//! hostile one does to the compiler: how much memory and time it takes, or that it cannot take the
//! compiler over. So the host starts its own program once more for each component (`child.rs`), which
//! confines itself before it reads a byte of it (`worker.rs`), and gives back code or a problem
//! (`answer.rs`).
//!
//! What that is worth:
//!
//! - A component that makes the compiler use too much memory or time, or crash, ends that process
//!   alone. The host, its instances and other deploys go on.
//! - A component that takes the compiler over is in a process that reaches no file, no network and no
//!   other process, has nothing of another tenant in it, and ends with this one compilation.
//! - **It is not proof against code that such a component then hands back.** The host runs it, and
//!   machine code cannot be checked for staying in a sandbox. Whoever takes the compiler over has, with
//!   the first call of the function, taken the host over too. That takes a defect in Cranelift or
//!   wasmtime that corrupts memory, both being in Rust, and is the same that a miscompilation amounts
//!   to. What the host does check: that the process ended well, the length of what it gave, that it is
//!   a component of this version and these settings of wasmtime, and, by linking it, which contract it
//!   fulfils. Code is kept under the digest of the component that was compiled, and given to none but
//!   those who uploaded that component, so a tenant cannot replace another's code.

mod answer;
mod child;
mod ending;
mod worker;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

pub use modelet_confinement::Layers;
use modelet_types::{Code as ErrorCode, Digest, Problem};
use tokio::sync::oneshot;

use crate::handler::Linked;
use crate::{Contracts, Engine};
#[cfg(any(test, fuzzing))]
pub(crate) use answer::check as check_answer;
use answer::{Answer, Broken};
use ending::Ending;
pub use worker::compile_worker_if_asked;

/// `(component (core module (func)))`: exports no handler, but has something to be compiled.
const SAMPLE: &[u8] =
    b"\0asm\x0d\0\x01\0\x01\x18\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";

impl Engine {
    /// Compiles the component `component`, which is the file at `wasm`, keeps its code and says what it
    /// is. Takes seconds for a large one. Whoever drops the future ends the compilation.
    ///
    /// `turn` is dropped once nothing of it goes on, which may be a moment after the future is dropped.
    ///
    /// # Errors
    /// `InvalidComponent`, `CompileLimitExceeded` and `CompileFailed`, with what is wrong and how to
    /// mend it.
    pub async fn compile(
        &self,
        component: &Digest,
        wasm: &Path,
        turn: impl Send + 'static,
    ) -> Result<Contracts, Problem> {
        let (this, component, wasm) = (self.clone(), *component, wasm.to_owned());
        apart(move |stop| {
            let _turn = turn;
            this.compile_until(&component, &wasm, stop)
        })
        .await
    }

    /// What a component is that was compiled before; `None` if it has to be compiled. Blocks on the disk.
    ///
    /// # Errors
    /// If its code is there but cannot be used.
    pub fn contracts_of(&self, component: &Digest) -> Result<Option<Contracts>, Problem> {
        let Some(code) = self.code().load(component)? else { return Ok(None) };
        Linked::new(self, &code)?;
        code.contracts().map(Some)
    }

    /// Compiles a component of the host's own as if it were a tenant's, and says what confines the
    /// process that does. For the start of a host.
    ///
    /// # Errors
    /// If components cannot be compiled on this machine.
    pub async fn check_compiler(&self) -> Result<Layers, Problem> {
        let config = self.0.compile.clone();
        apart(move |stop| {
            let cannot = |what: &dyn std::fmt::Display| {
                let program = config.program.display();
                let detail = format!("`{program} {}` does not compile: {what}", worker::ARGUMENT);
                Problem::new(ErrorCode::Internal, detail)
            };
            let (input, mut sample) = io::pipe().map_err(|error| cannot(&error))?;
            // It fits into the pipe, so that nobody needs to read meanwhile.
            sample.write_all(SAMPLE).map_err(|error| cannot(&error))?;
            drop(sample);
            let bytes = SAMPLE.len() as u64;
            match child::run(&config, input.into(), bytes, stop, &mut io::sink()) {
                // What is wrong with the sample is found out after it was compiled.
                Ok(Answer::Problem(layers, problem)) if problem.code == ErrorCode::InvalidComponent => {
                    Ok(layers)
                }
                Ok(Answer::Problem(_, problem)) => Err(cannot(&problem)),
                Ok(Answer::Code(_)) => Err(cannot(&"it gives code for a component without a handler")),
                Err(ending) => Err(cannot(&ending)),
            }
        })
        .await
    }

    fn compile_until(
        &self,
        component: &Digest,
        wasm: &PathBuf,
        stop: io::PipeReader,
    ) -> Result<Contracts, Problem> {
        let internal = |what: &'static str, error: &dyn std::fmt::Display| {
            tracing::error!(%component, %error, what, "cannot compile a handler");
            Problem::new(ErrorCode::Internal, format!("{what}; the host's log has the reason"))
        };
        let config = &self.0.compile;
        let unreadable = |error: io::Error| internal("cannot read the component", &error);
        let file = File::open(wasm).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        if bytes > config.memory_bytes {
            return Err(Ending::OutOfMemory.problem(config));
        }
        let unwritable = |error: io::Error| internal("cannot keep the compiled code", &error);
        let mut draft = self.0.code.draft().map_err(unwritable)?;
        match child::run(config, Stdio::from(file), bytes, stop, &mut draft) {
            Ok(Answer::Problem(_, problem)) => return Err(problem),
            Ok(Answer::Code(_)) => {}
            Err(Ending::Code(error)) => return Err(unwritable(error)),
            Err(ending) => {
                if ending.is_unforeseen() {
                    tracing::error!(%component, %ending, "the process that compiles a handler broke off");
                }
                return Err(ending.problem(config));
            }
        }
        if !draft.is_code().map_err(unwritable)? {
            tracing::error!(%component, "the process that compiles a handler gave what is no code");
            return Err(Ending::from(Broken::NoCode).problem(config));
        }
        self.0.code.keep(component, draft).map_err(unwritable)?;
        // What it is, the host finds out by itself; and what its pool of instances has no room for, the
        // process could not know.
        let gone = || Problem::new(ErrorCode::Internal, "its code is gone already");
        self.contracts_of(component).and_then(|contracts| contracts.ok_or_else(gone)).map_err(|problem| {
            if let Err(error) = self.code().remove(component) {
                tracing::error!(%component, %error, "cannot remove compiled code that cannot be run");
            }
            let words: Vec<&str> = problem.detail.split_whitespace().collect();
            let detail = format!("this host cannot run the component: {}", words.join(" "));
            Problem::new(ErrorCode::InvalidComponent, detail).at("component")
        })
    }
}

/// Runs `work` on a thread of its own, with a pipe whose other end is closed when this future is
/// dropped.
///
/// On one of its own, since the kernel ends the child with the thread that started it, and those of the
/// runtime come and go.
async fn apart<T: Send + 'static>(
    work: impl FnOnce(io::PipeReader) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |error: &dyn std::fmt::Display| {
        Problem::new(ErrorCode::Internal, format!("cannot start to compile: {error}"))
    };
    let (stop, _until_dropped) = io::pipe().map_err(|error| failed(&error))?;
    let (sender, done) = oneshot::channel();
    let work = move || {
        // Who waited may have left.
        let _ = sender.send(work(stop));
    };
    thread::Builder::new().name("modelet-compile".into()).spawn(work).map_err(|error| failed(&error))?;
    done.await
        .map_err(|_| Problem::new(ErrorCode::Internal, "compiling failed; the host's log has the reason"))?
}

#[cfg(test)]
mod tests;
