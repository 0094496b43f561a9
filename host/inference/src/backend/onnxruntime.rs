//! ONNX Runtime: the complete and fast one, loaded at run time from its shared library.
//!
//! Only its CPU execution provider is used. Sessions are created through the `ort` crate; runs go
//! to the C API directly (see `session`), because `ort` allows one run at a time. Models that were prepared
//! are loaded in the form that loads fastest (see `prepared`).

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use modelet_types::{Digest, TensorInfo};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use self::prepared::PreparedModels;
use self::prepared::folder::Form;
use self::session::OnnxSession;
use super::{Backend, BackendId, BackendSession, BackendStatus, LoadRequest};
use crate::InferenceError;
use crate::cpu_time::SharedMeter;

pub(crate) mod library;
mod options;
mod prepared;
mod session;
mod threads;

/// The backend.
pub(crate) struct OnnxRuntime {
    /// Or why it is not there.
    library: Result<library::Library, String>,
    /// None if no model is prepared.
    prepared: Option<PreparedModels>,
}

impl OnnxRuntime {
    /// Loads the library at `path`, or looks for it by its usual name where the system looks for
    /// libraries. A host starts without one that nobody named just as well.
    ///
    /// # Errors
    /// `Host` if there is a path, and no library that can be used.
    pub(crate) fn find(path: Option<&Path>) -> Result<Self, InferenceError> {
        match (library::find(path), path) {
            (Ok(library), _) => Ok(Self { library: Ok(library), prepared: None }),
            (Err(reason), Some(_)) => Err(InferenceError::Host {
                context: "loading ONNX Runtime (`inference.onnxruntime`)",
                reason,
            }),
            (Err(reason), None) => {
                tracing::info!(reason, "onnx runtime is not available");
                // Tenants are told this, and where the host keeps its files is not for them.
                Ok(Self { library: Err(library::NOT_FOUND.into()), prepared: None })
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
        self.0.start().map(|library| OnnxRuntime { library: Ok(library), prepared: None })
    }
}

impl OnnxRuntime {
    /// Prepares models of at least `from_bytes`, and keeps what comes of it in `dir`. Without the library there
    /// is nothing to do.
    ///
    /// # Errors
    /// `Host` if the folder cannot be used.
    pub(crate) fn preparing_models(self, dir: &Path, from_bytes: u64) -> Result<Self, InferenceError> {
        let Ok(library) = &self.library else { return Ok(self) };
        let prepared = PreparedModels::open(dir, from_bytes, library).map_err(|error| {
            let reason = format!("`{}`: {error}", dir.display());
            InferenceError::Host { context: "the folder of prepared models", reason }
        })?;
        Ok(Self { prepared, ..self })
    }

    /// The models of which a prepared form is kept.
    pub(crate) fn prepared_models(&self) -> std::io::Result<BTreeSet<Digest>> {
        self.prepared.as_ref().map_or_else(|| Ok(BTreeSet::new()), PreparedModels::models)
    }

    /// Removes the prepared form of a model.
    pub(crate) fn remove_prepared(&self, model: &Digest) -> std::io::Result<()> {
        self.prepared.as_ref().map_or(Ok(()), |prepared| prepared.remove(model))
    }

    /// The library's file, if it is there.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.library.as_ref().ok()?.file.as_deref()
    }
}

impl Backend for OnnxRuntime {
    fn status(&self) -> BackendStatus {
        BackendStatus {
            backend: BackendId::Onnxruntime,
            version: self.library.as_ref().ok().map(|library| library.version.clone()),
            unavailable: self.library.as_ref().err().cloned(),
        }
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Box<dyn BackendSession>, InferenceError> {
        let library = self.library.as_ref().map_err(|reason| InferenceError::BackendUnavailable {
            backend: BackendId::Onnxruntime,
            reason: reason.clone(),
        })?;
        let meter = (request.threads > 1).then(|| Arc::new(SharedMeter::default()));
        let build = || options::running(&library.environment, request.threads, meter.as_ref());
        let prepared = self.load_prepared(request, build);
        let (session, form) = match prepared {
            Some((session, form)) => (session, Some(form)),
            None => {
                let session = build().and_then(|mut builder| builder.commit_from_memory(request.file));
                let session = session.map_err(|e| {
                    let reason = first_line(&e);
                    InferenceError::InvalidModel(format!("ONNX Runtime cannot load the model: {reason}"))
                })?;
                (session, None)
            }
        };
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
            prepared_bytes: form.map(|form| form.bytes()),
        }))
    }

    fn prepare(&self, request: &LoadRequest<'_>) -> bool {
        match (&self.prepared, request.digest) {
            (Some(prepared), Some(digest)) => prepared.make(digest, request.file),
            _ => false,
        }
    }

    fn refuse_prepared(&self, digest: &Digest) {
        if let Some(prepared) = &self.prepared {
            prepared.refuse(digest);
        }
    }
}

impl OnnxRuntime {
    /// The session of a prepared model, if it is one. What fails here costs the time of trying.
    fn load_prepared(
        &self,
        request: &LoadRequest<'_>,
        build: impl Fn() -> ort::Result<SessionBuilder>,
    ) -> Option<(Session, Form)> {
        let (prepared, digest) = (self.prepared.as_ref()?, request.digest?);
        let form = prepared.find_or_want(digest, request.file)?;
        let loaded = build()
            .and_then(options::as_it_stands)
            .and_then(|mut builder| builder.commit_from_file(form.graph()));
        match loaded {
            Ok(session) => Some((session, form)),
            Err(error) => {
                let reason = first_line(&error);
                tracing::warn!(model = %digest, reason, "a prepared model cannot be loaded and is removed");
                prepared.give_up(digest);
                None
            }
        }
    }
}

fn failed(reason: impl Into<String>) -> InferenceError {
    InferenceError::Backend { backend: BackendId::Onnxruntime, reason: reason.into() }
}

/// Messages of ONNX Runtime may go on with a stack of its own source files.
fn first_line(error: &ort::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
