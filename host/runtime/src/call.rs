//! A request, as the protocol in front hands it over.

use http::{HeaderMap, Method};

use crate::functions::Origin;

/// One call of a handler. `B` is the request's body, not yet read.
pub struct Call<B> {
    /// The method.
    pub method: Method,
    /// The path below the function's address, with its leading `/`, percent-encoded as it came.
    pub path: String,
    /// What follows the first `?`.
    pub query: Option<String>,
    /// The headers that the handler may see.
    pub headers: HeaderMap,
    /// The body.
    pub body: B,
    /// Whether the caller wants to know how long each stage took.
    pub timed: bool,
    /// The handler that makes the call; `None` if it comes from outside.
    pub origin: Option<Origin>,
}
