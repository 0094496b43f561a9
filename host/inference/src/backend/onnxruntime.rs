//! ONNX Runtime: the complete and fast one, loaded at run time from its shared library.
//!
//! Only its CPU execution provider is used. Sessions are created through the `ort` crate; runs go
//! to the C API directly (see `session`), because `ort` allows one run at a time.

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use modelet_types::TensorInfo;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

use self::session::OnnxSession;
use self::threads::MeteredThreads;
use super::{Backend, BackendId, BackendSession, BackendStatus, LoadRequest};
use crate::InferenceError;
use crate::cpu_time::SharedMeter;

mod library;
mod session;
mod threads;

/// The backend, or why it is not there.
pub(crate) struct OnnxRuntime(Result<library::Library, String>);

impl OnnxRuntime {
    /// Loads the library at `path`, or looks for it by its usual name where the system looks for
    /// libraries. A host starts without one that nobody named just as well.
    ///
    /// # Errors
    /// `Host` if there is a path, and no library that can be used.
    pub(crate) fn find(path: Option<&Path>) -> Result<Self, InferenceError> {
        match (library::find(path), path) {
            (Ok(library), _) => Ok(Self(Ok(library))),
            (Err(reason), Some(_)) => Err(InferenceError::Host {
                context: "loading ONNX Runtime (`inference.onnxruntime`)",
                reason,
            }),
            (Err(reason), None) => {
                tracing::info!(reason, "onnx runtime is not available");
                // Tenants are told this, and where the host keeps its files is not for them.
                Ok(Self(Err(library::NOT_FOUND.into())))
            }
        }
    }
}

/// The library, loaded and not started yet: for a process that confines itself in between.
pub(crate) struct LoadedRuntime(library::Loaded);

impl LoadedRuntime {
    /// Loads the library at `path`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        library::Loaded::load(path).map(Self)
    }

    /// Starts it, which needs no file any more.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn start(self) -> Result<OnnxRuntime, String> {
        self.0.start().map(|library| OnnxRuntime(Ok(library)))
    }
}

impl OnnxRuntime {
    /// The library's file, if it is there.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.0.as_ref().ok()?.file.as_deref()
    }
}

impl Backend for OnnxRuntime {
    fn status(&self) -> BackendStatus {
        BackendStatus {
            backend: BackendId::Onnxruntime,
            version: self.0.as_ref().ok().map(|library| library.version.clone()),
            unavailable: self.0.as_ref().err().cloned(),
        }
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Box<dyn BackendSession>, InferenceError> {
        let library = self.0.as_ref().map_err(|reason| InferenceError::BackendUnavailable {
            backend: BackendId::Onnxruntime,
            reason: reason.clone(),
        })?;
        let meter = (request.threads > 1).then(|| Arc::new(SharedMeter::default()));
        let session = build(&library.environment, request, meter.as_ref()).map_err(|e| {
            InferenceError::InvalidModel(format!("ONNX Runtime cannot load the model: {}", first_line(&e)))
        })?;
        // Views of our tensors: memory that ONNX Runtime reads and does not own.
        let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)
            .map_err(|e| failed(first_line(&e)))?;
        let names = |infos: &[TensorInfo]| {
            infos
                .iter()
                .map(|info| {
                    CString::new(info.name.as_str()).map_err(|_| {
                        InferenceError::InvalidModel(format!("the name {:?} contains NUL", info.name))
                    })
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Box::new(OnnxSession {
            input_names: names(&request.facts.signature.inputs)?,
            output_names: names(&request.facts.signature.outputs)?,
            outputs: request.facts.signature.outputs.clone(),
            session,
            memory,
            meter,
        }))
    }
}

fn build(
    environment: &Environment,
    request: &LoadRequest<'_>,
    meter: Option<&Arc<SharedMeter>>,
) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?
        .with_intra_threads(request.threads)?
        .with_inter_threads(1)?
        // A thread that spins for the next run takes the CPU from a neighbour.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // Patterns are kept for every input shape ever seen, so callers could grow them at will.
        .with_memory_pattern(false)?
        // Failures are returned to the caller as well; the log is for what is not.
        .with_log_level(LogLevel::Error)?;
    if let Some(meter) = meter {
        builder = builder.with_thread_manager(MeteredThreads(Arc::clone(meter)))?;
    }
    builder.commit_from_memory(request.file)
}

fn failed(reason: impl Into<String>) -> InferenceError {
    InferenceError::Backend { backend: BackendId::Onnxruntime, reason: reason.into() }
}

/// Messages of ONNX Runtime may go on with a stack of its own source files.
fn first_line(error: &ort::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
