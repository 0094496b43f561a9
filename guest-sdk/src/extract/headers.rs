//! What surrounds a request's body: its headers, and the invocation that it belongs to.

use std::future::{Future, ready};

use crate::extract::FromRequest;
use crate::problem::Problem;
use crate::request::Request;

/// The headers of a request, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Headers(pub(crate) Vec<(String, Vec<u8>)>);

impl Headers {
    /// The first value of the header `name`, whatever the case it is written in; `None` also for a
    /// value that is not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    /// Every value of the header `name`.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names, in lower case, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

impl FromRequest for Headers {
    fn from_request(request: &mut Request) -> impl Future<Output = Result<Self, Problem>> {
        ready(Ok(request.headers.clone()))
    }
}

/// The invocation that a request belongs to.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// Unique for ever; also in the answer's `modelet-invocation-id` header and in the logs.
    pub id: String,
    /// The function that was called.
    pub function: String,
    /// The revision that answers.
    pub revision: u64,
    /// Wall time left until the host stops the invocation, in milliseconds, when it began.
    pub remaining_ms: u64,
}

impl FromRequest for Invocation {
    fn from_request(request: &mut Request) -> impl Future<Output = Result<Self, Problem>> {
        ready(Ok(request.invocation.clone()))
    }
}
