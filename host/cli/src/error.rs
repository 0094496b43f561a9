//! What can go wrong in the command line, and the exit code that says so to a script.

use std::path::PathBuf;
use std::process::ExitCode;

use modelet_server::StartError;

use crate::client::problem::HostProblem;
use crate::diagnostic::Diagnostic;

const UNAUTHENTICATED: &str = "--allow-unauthenticated listens there all the same: for a network that is \
     yours alone, or behind something that checks who calls";

/// The exit codes, as `modelet --help` lists them. Stable: scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The operation failed.
    Failed = 1,
    /// The command line is wrong; clap uses the same number.
    Usage = 2,
    /// No such function, revision or file.
    NotFound = 3,
    /// The host cannot be reached.
    Unreachable = 4,
    /// A manifest, configuration, component, model or input is not valid.
    Invalid = 5,
    /// The project does not build, or its tests fail.
    Project = 6,
    /// The host has too much to do; the same command may succeed later.
    Busy = 7,
    /// The key is missing, not valid, or not for this.
    Denied = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure that a command foresees.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Arguments that clap cannot check.
    #[error("{0}")]
    Usage(String),
    /// A file that the command needs.
    #[error("{what} `{path}` does not exist")]
    FileNotFound {
        /// What the file is for.
        what: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A folder without the source of a handler.
    #[error("there is no project in `{folder}`: it has no Cargo.toml, package.json or requirements.txt")]
    NoProject {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// No answer from the address.
    #[error("cannot reach the host at {host}: {reason}")]
    Unreachable {
        /// The address that was tried.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// The host answered with an error.
    #[error(transparent)]
    Host(#[from] Box<HostProblem>),
    /// A mistake in a file, with its line.
    #[error(transparent)]
    File(#[from] Box<Diagnostic>),
    /// A value from the command line or the environment that is not valid.
    #[error("{0}")]
    Invalid(String),
    /// A host that does not start.
    #[error("cannot start the host")]
    Start(#[source] Box<StartError>),
    /// What the project needs and the machine does not have.
    #[error("{what}")]
    Missing {
        /// What is missing.
        what: String,
        /// The command that installs it.
        install: String,
    },
    /// A program that builds or tests projects ended with an error, which it has printed itself.
    #[error("`{0}` failed")]
    Tool(String),
    /// The function answered with an error status; its answer has been printed.
    #[error("the function answered {0}")]
    Answered(reqwest::StatusCode),
    /// The record of changes is not as it was recorded.
    #[error("the record of changes was altered at change {id}")]
    Altered {
        /// The first change that is not right.
        id: u64,
    },
    /// The host broke off, or answered what this version does not understand.
    #[error("{0}")]
    Protocol(String),
}

impl Error {
    /// The exit code of the process.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::FileNotFound { .. } | Self::NoProject { .. } => Exit::NotFound,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Host(problem) => problem.exit(),
            Self::File(_) | Self::Invalid(_) => Exit::Invalid,
            Self::Start(error) => match **error {
                StartError::Unauthenticated(_) | StartError::Config(_) => Exit::Invalid,
                _ => Exit::Failed,
            },
            Self::Missing { .. } | Self::Tool(_) => Exit::Project,
            Self::Answered(_) | Self::Altered { .. } | Self::Protocol(_) => Exit::Failed,
        }
    }

    /// What to do about it, in a sentence or a command.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => {
                Some("start one with `modelet serve`, or name another with --host or MODELET_HOST".into())
            }
            Self::Start(error) => match **error {
                StartError::Unauthenticated(_) => Some(UNAUTHENTICATED.into()),
                StartError::Listen { .. } => {
                    Some("choose another address with --listen; port 0 is any free one".into())
                }
                _ => None,
            },
            Self::NoProject { .. } => Some("make one with `modelet new`, or name another folder".into()),
            Self::Missing { install, .. } => Some(format!("install it with `{install}`")),
            Self::Host(problem) => problem.hint(),
            Self::File(diagnostic) => diagnostic.help.clone(),
            _ => None,
        }
    }
}

/// The exit code for any error: that of the first foreseen one in its chain, else [`Exit::Failed`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    foreseen(error).map_or(Exit::Failed, Error::exit)
}

/// The foreseen failure in an error's chain.
pub fn foreseen(error: &anyhow::Error) -> Option<&Error> {
    error.chain().find_map(|cause| cause.downcast_ref::<Error>())
}
