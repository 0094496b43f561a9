//! The host's errors, `application/problem+json` (RFC 9457), as a person and a script need them.

use std::fmt;

use modelet_types::Code;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::is_busy;
use crate::diagnostic::Diagnostic;
use crate::error::{Error, Exit};

/// The most characters that are shown of an answer that is not a problem.
const MAX_SHOWN: usize = 300;

/// An error that the host answered with.
#[derive(Clone, Debug, Deserialize)]
pub struct HostProblem {
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, as a program can tell: one of `modelet_types::Code`, or a newer one.
    #[serde(default)]
    pub code: String,
    /// What went wrong, for a person.
    pub detail: String,
    /// The input at fault.
    #[serde(default)]
    pub field: Option<String>,
    /// The invocation, which finds its lines in the function's log.
    #[serde(default)]
    pub invocation: Option<String>,
    /// The revision that answered.
    #[serde(default)]
    pub revision: Option<u64>,
    /// Seconds until it is worth trying again.
    #[serde(skip)]
    pub retry_after: Option<String>,
    /// Where the author wrote the field at fault; found by the command, not told by the host.
    #[serde(skip)]
    pub place: Option<Diagnostic>,
}

impl std::error::Error for HostProblem {}

impl fmt::Display for HostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl HostProblem {
    /// Reads an error answer.
    pub async fn read(response: Response) -> Box<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        // An answer that breaks off has its status, at least.
        let body = response.bytes().await.unwrap_or_default();
        Box::new(Self::parse(status, &headers, &body))
    }

    /// Reads the parts of an error answer; one that is not a problem becomes one, with what it says.
    pub fn parse(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_else(|_| {
            let text: String = String::from_utf8_lossy(body).trim().chars().take(MAX_SHOWN).collect();
            let said = if text.is_empty() { text } else { format!(": {text}") };
            Self {
                status: status.as_u16(),
                code: String::new(),
                detail: format!("the host answered {status}{said}"),
                field: None,
                invocation: None,
                revision: None,
                retry_after: None,
                place: None,
            }
        });
        problem.retry_after =
            headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        problem
    }

    /// The code, if this version knows it.
    pub fn code(&self) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == self.code)
    }

    /// What there is beside the sentence, by name.
    pub fn particulars(&self) -> Vec<(&'static str, String)> {
        let code = (!self.code.is_empty()).then(|| self.code.clone());
        let particulars = [
            ("code", code),
            ("field", self.field.clone()),
            ("invocation", self.invocation.clone()),
            ("revision", self.revision.map(|revision| revision.to_string())),
        ];
        particulars.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// The exit code of a command that ends with it.
    pub fn exit(&self) -> Exit {
        match self.code() {
            Some(Code::Unauthenticated | Code::PermissionDenied) => Exit::Denied,
            Some(Code::NotFound) => Exit::NotFound,
            Some(
                Code::InvalidInput
                | Code::InvalidManifest
                | Code::InvalidComponent
                | Code::CompileLimitExceeded
                | Code::InvalidModel
                | Code::GoldenMismatch
                | Code::BackendUnavailable,
            ) => Exit::Invalid,
            _ if StatusCode::from_u16(self.status).is_ok_and(is_busy) => Exit::Busy,
            _ => Exit::Failed,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self.code()? {
            // Some of the host's own sentences say it.
            Code::NotFound if self.detail.contains("modelet ") => return None,
            Code::NotFound if self.detail.contains("revision") => {
                "`modelet revisions FUNCTION` lists what there is"
            }
            Code::NotFound => "`modelet functions` lists what there is",
            Code::Unauthenticated => {
                "name a key with MODELET_KEY or --key-file, or keep one with `modelet login`"
            }
            // Another key of the same person helps nobody.
            Code::PermissionDenied if self.detail.contains("approve") => return None,
            Code::PermissionDenied => "`modelet login` keeps another key, and `modelet key create` makes one",
            Code::QuotaExceeded if self.detail.starts_with("the function's") => {
                "`modelet quotas FUNCTION` shows what the function may use, and what it uses"
            }
            Code::QuotaExceeded => "`modelet quotas` shows what the tenant may use, and what it uses",
            Code::NotActive => "choose a revision with `modelet activate FUNCTION REVISION`",
            Code::HandlerTrap | Code::HandlerStackOverflow | Code::HandlerError => {
                "`modelet logs FUNCTION` shows what the handler said, with its backtrace"
            }
            Code::HandlerOutOfMemory => "raise `limits.memory_bytes` in modelet.toml, or hold less at once",
            Code::CpuTimeExceeded => "raise `limits.cpu_time_ms` in modelet.toml",
            Code::WallTimeExceeded => "raise `limits.wall_time_ms` in modelet.toml",
            Code::ResponseTooLarge => "raise `limits.response_body_bytes` in modelet.toml",
            // Only an invocation names a revision, and only there is the body the function's own.
            Code::RequestTooLarge if self.revision.is_some() => {
                "raise `limits.request_body_bytes` in modelet.toml, or send less"
            }
            Code::RequestTooLarge => {
                "send less; for an artifact, the host's configuration can raise `max_artifact_bytes`"
            }
            Code::InvalidComponent => "`modelet build` makes a component that a host can run",
            Code::CompileLimitExceeded => {
                "build with optimisations and without what the handler does not use; the limits are \
                 `compile.*` in the host's configuration"
            }
            Code::GoldenMismatch => {
                "check the model's file, the tolerance, and whether another `backend` computes it as promised"
            }
            Code::BackendUnavailable => {
                "use `backend = \"auto\"`, or have the host's operator run `modelet backend install onnxruntime` \
                 and start it anew"
            }
            Code::Overloaded | Code::ShuttingDown | Code::StorageUnavailable | Code::WorkerLost => {
                let seconds = self.retry_after.as_deref().unwrap_or("a few");
                return Some(format!("try again in {seconds} s"));
            }
            _ => return None,
        };
        Some(hint.into())
    }

    /// The same, as a failure of the command.
    pub fn into_error(self: Box<Self>) -> Error {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> HostProblem {
        HostProblem::parse(StatusCode::BAD_REQUEST, &HeaderMap::new(), json.as_bytes())
    }

    #[test]
    fn the_code_decides_about_the_exit_code() {
        let exit = |code: &str, status: u16| {
            problem(&format!(r#"{{"status":{status},"code":"{code}","detail":"x"}}"#)).exit()
        };
        assert_eq!(exit("not_found", 404), Exit::NotFound);
        assert_eq!(exit("golden_mismatch", 422), Exit::Invalid);
        assert_eq!(exit("overloaded", 503), Exit::Busy);
        assert_eq!(exit("backend_unavailable", 503), Exit::Invalid, "trying again does not help");
        assert_eq!(exit("handler_trap", 500), Exit::Failed);
        assert_eq!(exit("of_the_future", 418), Exit::Failed);
    }

    #[test]
    fn what_is_too_large_decides_about_the_hint() {
        let hint = |rest: &str| {
            let json = format!(r#"{{"status":413,"code":"request_too_large","detail":"x"{rest}}}"#);
            problem(&json).hint().unwrap()
        };
        assert!(hint(r#","revision":3"#).contains("limits.request_body_bytes"));
        assert!(hint("").contains("max_artifact_bytes"));
    }

    #[test]
    fn what_is_not_a_problem_is_told_as_it_is() {
        let problem = HostProblem::parse(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<h1>nginx</h1>");
        assert_eq!(problem.to_string(), "the host answered 502 Bad Gateway: <h1>nginx</h1>");
        assert!(problem.particulars().is_empty());
    }
}
