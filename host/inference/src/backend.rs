//! What a backend is: something that turns a model file into a session, and runs it.
//!
//! The traits are made so that an implementation can stand in another process: a request is
//! tensors (shape, element type, immutable counted bytes), a deadline and a means to stop it, and
//! nothing borrowed from the caller outlives the call. In-process is the special case.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use modelet_types::manifest::{BackendChoice, Device};
use modelet_types::{Digest, Tensor};
use serde::{Deserialize, Serialize};

use crate::onnx::ModelFacts;
use crate::{Control, InferenceError, ModelFile};

pub(crate) mod onnxruntime;
pub(crate) mod rten;

/// An implementation of inference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendId {
    /// rten, built in.
    Rten,
    /// ONNX Runtime, from a shared library.
    Onnxruntime,
}

impl BackendId {
    /// The name in manifests, answers and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rten => "rten",
            Self::Onnxruntime => "onnxruntime",
        }
    }

    /// The backends to try for `choice`, the preferred first.
    pub(crate) const fn candidates(choice: BackendChoice) -> &'static [Self] {
        match choice {
            // rten loads three to ten times faster, which is what a cold start is made of.
            BackendChoice::Auto => &[Self::Rten, Self::Onnxruntime],
            BackendChoice::Rten => &[Self::Rten],
            BackendChoice::Onnxruntime => &[Self::Onnxruntime],
        }
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a backend can be used on this host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendStatus {
    /// Which backend.
    pub backend: BackendId,
    /// Its version, when it is available.
    pub version: Option<String>,
    /// Why it is not available and what helps, when it is not.
    pub unavailable: Option<String>,
}

impl BackendStatus {
    /// Whether models can run on it.
    pub fn available(&self) -> bool {
        self.unavailable.is_none()
    }
}

/// What a backend loads.
pub struct LoadRequest<'a> {
    /// The model, already found to be one file in ONNX format.
    pub file: &'a Arc<ModelFile>,
    /// What the model declares, and how its operators stand on each other.
    pub facts: &'a ModelFacts,
    /// Where it is to run, one of [`Backend::devices`].
    pub device: Device,
    /// Threads for one run.
    pub threads: usize,
    /// Whether element types that the backend lacks may be narrowed: f64 to f32.
    pub may_narrow: bool,
    /// The digest of the file, if the model may be loaded from what was prepared of it.
    pub digest: Option<&'a Digest>,
}

/// An implementation of inference.
pub trait Backend: Send + Sync {
    /// Whether it can be used, and its version.
    fn status(&self) -> BackendStatus;

    /// Where it can run models.
    fn devices(&self) -> &'static [Device] {
        &[Device::Cpu]
    }

    /// Loads a model. Takes as long as the model is large; not for an async thread.
    ///
    /// # Errors
    /// `InvalidModel` if this backend cannot run the model, `BackendUnavailable` if it is not here.
    fn load(&self, request: &LoadRequest<'_>) -> Result<Box<dyn BackendSession>, InferenceError>;

    /// Makes the form of a model that loads fastest, if this backend knows one and it is not there yet, for
    /// later loads to take. Says whether there is one. Takes as long as a few loads. What fails is logged: no
    /// model needs it.
    fn prepare(&self, _request: &LoadRequest<'_>) -> bool {
        false
    }

    /// Says that what was prepared of a model does not do as the model does: it is not used again.
    fn refuse_prepared(&self, _digest: &Digest) {}
}

/// A model in a backend. Runs may take place side by side.
pub trait BackendSession: Send + Sync {
    /// Runs the model. `inputs` fit the signature, in its order; `outputs` are indices into the
    /// signature's outputs.
    ///
    /// A backend that cannot be stopped midway (rten) goes on to the end: the caller has its answer
    /// on time all the same, and the run keeps its thread. In a worker process, the process is ended.
    ///
    /// # Errors
    /// `InvalidInput` if values do not fit, `Backend` if the run failed, `WorkerLost` if its process is
    /// gone, or the reason for which `control` stopped it.
    fn run(
        &self,
        inputs: &[Tensor],
        outputs: &[usize],
        control: &Control,
    ) -> Result<BackendRun, InferenceError>;

    /// Whether runs take place on the thread that calls and on no other. Only then is a short run
    /// worth making inline: what changes threads anyway is better off on the pool.
    fn runs_on_caller(&self) -> bool;

    /// Whether the session reads from the model's file for as long as it is there, so that the file is
    /// part of what it has in memory.
    fn keeps_file(&self) -> bool;

    /// Bytes of the prepared form from which the session reads for as long as it is there, if it was loaded
    /// from one.
    fn prepared_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a run gave.
pub struct BackendRun {
    /// The outputs that were asked for, in that order.
    pub outputs: Vec<Tensor>,
    /// CPU time of the run on all threads.
    pub cpu_time: Duration,
}
