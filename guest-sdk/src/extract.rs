//! Extractors: what a handler's arguments are made from.
//!
//! A handler names what it needs of a request by the types of its arguments. [`Json`], `Vec<u8>`,
//! `String` and [`BodyStream`](crate::BodyStream) take the body, so that only one of them can stand
//! in a handler.

mod headers;
mod json;
mod query;

pub use headers::{Headers, Invocation};
pub use json::Json;
pub use query::Query;

use std::future::{Future, ready};

use crate::problem::Problem;
use crate::request::{BodyStream, Request};

/// Something that can be made from a request.
///
/// ```
/// use modelet_sdk::{FromRequest, Problem, Request};
///
/// /// The language that the caller prefers.
/// struct Language(String);
///
/// impl FromRequest for Language {
///     async fn from_request(request: &mut Request) -> Result<Self, Problem> {
///         let language = request.headers().get("accept-language").unwrap_or("en");
///         Ok(Self(language.to_owned()))
///     }
/// }
///
/// async fn greet(Language(language): Language, name: String) -> String {
///     format!("{name} ({language})")
/// }
/// ```
pub trait FromRequest: Sized {
    /// Makes it. What it takes out of the request, the extractors after it do not find.
    fn from_request(request: &mut Request) -> impl Future<Output = Result<Self, Problem>>;
}

impl FromRequest for Request {
    async fn from_request(request: &mut Request) -> Result<Self, Problem> {
        Ok(std::mem::take(request))
    }
}

impl FromRequest for Vec<u8> {
    fn from_request(request: &mut Request) -> impl Future<Output = Result<Self, Problem>> {
        request.take_bytes()
    }
}

impl FromRequest for String {
    async fn from_request(request: &mut Request) -> Result<Self, Problem> {
        Self::from_utf8(request.take_bytes().await?).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            Problem::bad_request(format!("the body is not UTF-8 text: the byte at {valid} does not fit"))
        })
    }
}

impl FromRequest for BodyStream {
    fn from_request(request: &mut Request) -> impl Future<Output = Result<Self, Problem>> {
        ready(request.take_stream())
    }
}

macro_rules! tuples {
    ($(($($extractor:ident)*))+) => {
        $(
            impl<$($extractor: FromRequest),*> FromRequest for ($($extractor,)*) {
                async fn from_request(_request: &mut Request) -> Result<Self, Problem> {
                    Ok(($($extractor::from_request(_request).await?,)*))
                }
            }
        )+
    };
}
tuples! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }
