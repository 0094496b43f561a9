//! axum: middleware, controllers; the only crate that knows status codes
