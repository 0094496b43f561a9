//! What a caller would have got.

use serde::de::DeserializeOwned;
use serde_json::json;

use crate::problem::Problem;

/// The answer to a call of a [`TestHost`](super::TestHost).
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    chunks: Vec<Vec<u8>>,
    problem: Option<Problem>,
    broken_off: Option<Problem>,
}

impl Reply {
    pub(super) fn new(
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        chunks: Vec<Vec<u8>>,
        broken_off: Option<Problem>,
    ) -> Self {
        Self { status, headers, chunks, problem: None, broken_off }
    }

    /// As the host would write it, but for the ids that it adds.
    pub(super) fn of_problem(problem: Problem) -> Self {
        let Problem { status, code, detail, field } = &problem;
        let mut body = json!({ "status": status, "code": code, "detail": detail });
        if let Some(field) = field {
            body["field"] = json!(field);
        }
        Self {
            status: *status,
            headers: vec![("content-type".into(), b"application/problem+json".to_vec())],
            chunks: vec![body.to_string().into_bytes()],
            problem: Some(problem),
            broken_off: None,
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first value of a header, whatever the case it is written in.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    /// The body as the chunks that the handler wrote.
    pub fn chunks(&self) -> &[Vec<u8>] {
        &self.chunks
    }

    /// The body.
    pub fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// The body as text.
    ///
    /// # Panics
    /// If it is not UTF-8.
    pub fn text(&self) -> String {
        match String::from_utf8(self.bytes()) {
            Ok(text) => text,
            Err(error) => panic!("the body is not text: {error}"),
        }
    }

    /// The body read as JSON.
    ///
    /// # Panics
    /// If it is not JSON of that form; the message shows the body.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.bytes()) {
            Ok(value) => value,
            Err(error) => panic!("{error} in the body of a {}: {}", self.status, self.text()),
        }
    }

    /// The problem that was answered in place of a response.
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// Why a streamed body was broken off, if it was.
    pub fn broken_off(&self) -> Option<&Problem> {
        self.broken_off.as_ref()
    }
}
