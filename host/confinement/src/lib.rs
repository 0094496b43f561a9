//! A process gives up what it does not need: files, the network, other programs, and memory and time
//! without end.
//!
//! [`confine`] is for the `main` of a process that works on hostile input for somebody else: it reads
//! and writes the pipes that it was started with, and computes. Where a process has to open something first
//! that its work stands on, such as a library, it calls [`begin`] and then [`Begun::finish`]. Nothing can be
//! taken back afterwards. Which input that is, and who starts the process, is not known here.
//!
//! Two layers of the kernel refuse things, so that one holds where the other is not there or has a
//! hole: Landlock (`files.rs`) by what is reached, seccomp (`calls.rs`) by the system call. The limits
//! (`limits.rs`) are there on every kernel.
#![expect(unsafe_code, reason = "closing inherited descriptors and two flags of prctl have no safe call")]

mod calls;
mod files;
mod limits;

use std::{fs, io};

use rustix::process::{DumpableBehavior, Pid, Signal};

/// What a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory that it may write to: its heap, and the stacks of its threads in full. A request for more
    /// fails.
    pub memory_bytes: u64,
    /// CPU time of all threads together. Who uses more is ended by `SIGXCPU`.
    pub cpu_seconds: u64,
}

/// What a process does beside computing, once it is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It reads and writes the pipes that it was started with, and uses at most so much CPU time with all
    /// threads together. Who uses more is ended by `SIGXCPU`.
    Pipes {
        /// In whole seconds.
        cpu_seconds: u64,
    },
    /// It answers messages on the socket that it was started with, and on those that come over it, for as
    /// long as it is wanted. Files come with the messages: it maps them to read, and writes into those that
    /// were made for that.
    Messages {
        /// Descriptors that it may have at one time.
        descriptors: u64,
        /// How far it may write into a file.
        file_bytes: u64,
    },
}

/// Says that this process is confined, and by what. There is no other way to have one than
/// [`confine`] and [`Begun::finish`], so that what must run in a confined process only can ask for one.
#[derive(Debug)]
pub struct Confined {
    layers: Layers,
}

impl Confined {
    /// What holds beside the limits.
    pub fn layers(&self) -> Layers {
        self.layers
    }
}

/// What refuses things, where the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// Landlock refuses every file, and what else this kernel's version of it knows.
    pub landlock: bool,
    /// seccomp refuses every system call that computing does not need.
    pub seccomp: bool,
}

impl Layers {
    /// Whether both are there.
    pub fn are_complete(self) -> bool {
        self.landlock && self.seccomp
    }
}

/// Why a process could not be confined. It must end then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Landlock holds for the thread that asks for it and those that it starts later.
    #[error("the process has {0} threads; it must be confined before it starts a second one")]
    Threads(usize),
    /// Whoever started it is gone.
    #[error("the process that started this one has ended")]
    Orphaned,
    /// A step that every kernel knows has failed.
    #[error("cannot {step}")]
    Step {
        /// Which.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Confines this process for the rest of its life: it has three descriptors, reaches nothing, starts
/// nothing, stays within `limits`, leaves no core and cannot be looked into, and dies with the thread
/// of `parent` that started it.
///
/// For the beginning of `main`: whatever else has a descriptor loses it, and the program is started over
/// once, with the same arguments and no environment, so that the limit of memory holds from its first
/// allocation on.
///
/// # Errors
/// If a step fails that does not depend on what the kernel was built with. Layers that are not there
/// are no error; [`Confined::layers`] tells.
pub fn confine(parent: u32, limits: &Limits) -> Result<Confined, Error> {
    begin(parent, limits.memory_bytes)?.finish(Work::Pipes { cpu_seconds: limits.cpu_seconds })
}

/// The first half of [`confine`]: the limit of memory, the end with the parent, and nobody else's
/// descriptors. Files can be opened still.
///
/// # Errors
/// As for [`confine`].
pub fn begin(parent: u32, memory_bytes: u64) -> Result<Begun, Error> {
    expect_one_thread()?;
    step("start within the limits of memory", limits::start_within(memory_bytes))?;
    let die_with_parent = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    step("ask to die with the parent", die_with_parent.map_err(Into::into))?;
    // It may have died before that was asked for.
    if rustix::process::getppid().map(Pid::as_raw_pid) != i32::try_from(parent).ok() {
        return Err(Error::Orphaned);
    }
    step("close inherited descriptors", close_others())?;
    let hide = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    step("hide the process's memory", hide.map_err(Into::into))?;
    step("refuse new privileges", set_no_new_privs())?;
    Ok(Begun(()))
}

/// A process that is half confined; see [`begin`].
#[derive(Debug)]
#[must_use = "nothing refuses files and calls before `finish`"]
pub struct Begun(());

impl Begun {
    /// The second half: what was opened stays usable, and nothing else can be reached.
    ///
    /// # Errors
    /// As for [`confine`].
    pub fn finish(self, work: Work) -> Result<Confined, Error> {
        // What was opened may have started some.
        expect_one_thread()?;
        let landlock = files::refuse_all();
        step("set limits", limits::set_others(work))?;
        Ok(Confined { layers: Layers { landlock, seccomp: calls::refuse_most(work) } })
    }
}

fn expect_one_thread() -> Result<(), Error> {
    match fs::read_dir("/proc/self/task").map_or(1, Iterator::count) {
        1 => Ok(()),
        threads => Err(Error::Threads(threads)),
    }
}

fn step(step: &'static str, result: io::Result<()>) -> Result<(), Error> {
    result.map_err(|source| Error::Step { step, source })
}

/// Closes every descriptor but the three standard ones.
fn close_others() -> io::Result<()> {
    // SAFETY: the process has one thread, which is in its `main` and in this function, so nobody uses a
    // descriptor meanwhile. What owns one, against the documentation of `confine`, gets errors from it:
    // no other is opened in its place, since limits and layers follow.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_no_new_privs() -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
