//! The query string.

use std::future::{Future, ready};

use serde::de::DeserializeOwned;

use crate::extract::{FromRequest, json};
use crate::problem::Problem;
use crate::request::Request;

/// The query string as a struct, such as `?top=3&threshold=0.5`.
///
/// One that does not fit `T` is answered with 422 and the parameter's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    fn from_request(request: &mut Request) -> impl Future<Output = Result<Self, Problem>> {
        ready(parse(request.query().unwrap_or_default()).map(Self))
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let deserializer = serde_urlencoded::Deserializer::new(pairs);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let reason = error.inner().to_string();
        match json::field(error.path(), &reason) {
            Some(field) => Problem::invalid(field, reason),
            None => Problem::new(422, "invalid_input", format!("the query does not fit: {reason}")),
        }
    })
}
