//! The seam between this crate and what runs the handler.
//!
//! Two implementations of the same items: in a component they are the imports of the contract, and
//! natively, where those cannot be linked, they are a double that [`crate::testing`] fills. Nothing
//! else in the crate knows which of the two it talks to.
//!
//! - `Tensor`: `create(&[u64], ElementsRef)`, `shape`, `element_type`, `elements`
//! - `Model`: `load(String)`, `inputs`, `outputs`, `infer(Vec<(String, &Tensor)>, Vec<String>)`
//! - `BodyReader`: `read()`, the next chunk of a streamed request
//! - `BodyWriter`: `write(Vec<u8>)`, to a streamed response, false once the caller has left;
//!   `fail(Problem)`, which breaks the response off
//! - `send(http::Request)`, a request that the handler makes
//! - `config(&str)` and `log(Level, &str, &str)`

#[cfg(target_family = "wasm")]
pub(crate) mod component;
#[cfg(target_family = "wasm")]
mod outgoing;
#[cfg(target_family = "wasm")]
pub use component::Tensor;
#[cfg(target_family = "wasm")]
pub(crate) use component::{BodyReader, BodyWriter, Model, config, log, send};

#[cfg(not(target_family = "wasm"))]
pub(crate) mod double;
#[cfg(not(target_family = "wasm"))]
pub use double::Tensor;
#[cfg(not(target_family = "wasm"))]
pub(crate) use double::{BodyReader, BodyWriter, Model, config, log, send};
