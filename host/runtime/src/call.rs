//! A request, as the protocol in front hands it over.

use http::{HeaderMap, Method};

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
}
