//! The SDK as an author uses it: handlers called through the double of the host.

mod extractors;
mod handlers;
mod responses;
