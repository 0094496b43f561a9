//! Write handlers for Modelet, a serverless function runtime for models.
//!
//! A handler is a WebAssembly component around models that run in the host. It is either a
//! [`Handler`], which is `preprocess` and `postprocess` around one model, or an `async fn` whose
//! arguments are extractors:
//!
//! ```
//! use modelet_sdk::{Json, Model, Problem, Tensor};
//!
//! #[modelet_sdk::handler]
//! async fn classify(Json(features): Json<Vec<f32>>) -> Result<Json<Vec<f32>>, Problem> {
//!     if features.len() != 4 {
//!         return Err(Problem::invalid("features", format!("must be 4, got {}", features.len())));
//!     }
//!     let features = Tensor::new([1, 4], features)?;
//!     let outputs = Model::load("iris").await?.infer([("features", &features)]).await?;
//!     Ok(Json(outputs.into_one()?.to_vec()?))
//! }
//! ```
//!
//! # In tensors
//! A handler for callers who speak the Open Inference Protocol takes and gives tensors instead, which the host reads
//! and writes. Its manifest declares them, in `signature`:
//!
//! ```
//! use modelet_sdk::{Inputs, Model, Outputs, Problem, Tensor};
//!
//! #[modelet_sdk::transform]
//! async fn classify(inputs: Inputs) -> Result<Outputs, Problem> {
//!     let pixels = inputs.required("pixels")?.to_vec::<u8>()?;
//!     let shades: Vec<f32> = pixels.into_iter().map(|ink| f32::from(ink) / 16.0).collect();
//!     let image = Tensor::new([shades.len() / 64, 64], shades)?;
//!     Ok(Model::load("digits").await?.infer([("input", &image)]).await?)
//! }
//! ```
//!
//! The crate that holds it is a `cdylib`, built with `--target wasm32-wasip2`, and has one
//! `#[handler]`.
//!
//! It asks other functions, and what else its manifest allows, through [`http`].
//!
//! # Tests
//! On any other target the same code runs against a double of the host; see `testing`.
//!
//! # Features
//! - `ndarray`: tensors from and to `ndarray` arrays
//! - `half`: `half::f16` and `half::bf16` as elements
//! - `log`: the `log` crate's macros write to the function's log
//! - `testing-rten`: tests run a real ONNX file
//!
//! # Size and start
//! A handler is instantiated for every request by default, so this crate does nothing at start but
//! set a panic hook, and what a handler does not use is not linked. `modelet new` sets up a release
//! profile for small components.

#[cfg(target_family = "wasm")]
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated")]
#[doc(hidden)]
pub mod bindings;
pub mod config;
mod element;
mod error;
#[cfg(target_family = "wasm")]
mod export;
mod extract;
mod handler;
mod host;
pub mod http;
pub mod log;
mod model;
mod problem;
mod request;
mod response;
mod tensor;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use element::{Element, ElementType, Elements};
pub use error::Error;
pub use extract::{FromRequest, Headers, Invocation, Json, Query};
pub use futures::{join, try_join};
pub use handler::{Call, Handler, call};
pub use model::{Inputs, Model, Outputs};
pub use modelet_sdk_macros::{handler, transform};
pub use problem::Problem;
pub use request::{BodyStream, Request};
pub use response::{BodyWriter, IntoResponse, Response};
pub use tensor::{Tensor, TensorInfo};

/// What the attribute's expansion needs. Not for use by hand.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::bindings::export;
    pub use crate::bindings::exports::modelet::handler::handler::{Body, Guest, Problem, Request, Response};
    pub use crate::bindings::transform as transform_bindings;
    pub use crate::bindings::transform::export as export_transform;
    pub use crate::bindings::transform::exports::modelet::handler::transform::{
        Guest as TransformGuest, Invocation, Tensor,
    };
    pub use crate::export::{answer, transform};
}
