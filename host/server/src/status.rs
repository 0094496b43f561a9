//! The HTTP status of every error code (RFC 9110 §15).

use http::StatusCode;
use modelet_types::Code;

/// What a client gets when its caller left first. Nobody reads it; usage records show it. 499 is
/// what nginx made customary.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The status of `code`.
pub(crate) fn of(code: Code) -> StatusCode {
    match code {
        Code::InvalidInput => StatusCode::BAD_REQUEST,
        Code::InvalidManifest
        | Code::InvalidComponent
        | Code::CompileLimitExceeded
        | Code::InvalidModel
        | Code::GoldenMismatch
        | Code::DigestMismatch => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        Code::Conflict => StatusCode::CONFLICT,
        Code::HostNotAllowed => StatusCode::MISDIRECTED_REQUEST,
        Code::OriginNotAllowed => StatusCode::FORBIDDEN,
        Code::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::NotActive
        | Code::Overloaded
        | Code::ShuttingDown
        | Code::StorageUnavailable
        | Code::WorkerLost
        | Code::BackendUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::HandlerTrap
        | Code::HandlerStackOverflow
        | Code::HandlerOutOfMemory
        | Code::ResponseTooLarge
        | Code::InvalidResponse
        | Code::HandlerError
        | Code::BackendFailed => StatusCode::BAD_GATEWAY,
        Code::CpuTimeExceeded | Code::WallTimeExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).expect("499 is a status"),
        Code::CompileFailed | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether the same request may succeed a second later: what is overloaded now is usually free then; what
/// does not exist never is.
pub(crate) fn may_retry(code: Code) -> bool {
    matches!(code, Code::Overloaded | Code::ShuttingDown | Code::StorageUnavailable | Code::WorkerLost)
}

/// The status number of `code`, for usage records.
pub(crate) fn number_of(code: Code) -> u16 {
    of(code).as_u16()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The table of docs/errors.md, from the code.
    fn table() -> String {
        let mut table = String::from("| code | status | meaning |\n|---|---|---|\n");
        for &code in Code::ALL {
            writeln!(table, "| `{code}` | {} | {} |", number_of(code), code.meaning()).expect("text grows");
        }
        table
    }

    #[test]
    fn every_code_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&table()), "put this table into docs/errors.md:\n{}", table());
    }
}
