//! The Open Inference Protocol over gRPC: its messages, and how tensors stand in them.
//!
//! After `open_inference_grpc.proto` of github.com/kserve/open-inference-protocol, with the repository of
//! Triton's `grpc_service.proto`. The messages are written out here instead of being generated: they are
//! few, and nothing has to be installed to build them.

mod codec;
mod message;
mod raw;

pub(crate) use codec::GrpcCodec;
pub(crate) use message::*;
pub(crate) use raw::RawCodec;

use modelet_engine::Failure;
use modelet_types::{Code, Problem};
use tonic::Status;

use super::{TensorMetadata, text_of};

/// An error, as gRPC has it. The host's own code is in its metadata, as `modelet-code`.
pub(crate) fn status(problem: &Problem) -> Status {
    let text = text_of(problem);
    let status = match problem.code {
        Code::Unauthenticated => Status::unauthenticated(text),
        Code::NotFound => Status::not_found(text),
        Code::NotActive
        | Code::Overloaded
        | Code::ShuttingDown
        | Code::StorageUnavailable
        | Code::WorkerLost
        | Code::BackendUnavailable => Status::unavailable(text),
        Code::QuotaExceeded | Code::RequestTooLarge | Code::ResponseTooLarge => {
            Status::resource_exhausted(text)
        }
        Code::RequestTimeout | Code::CpuTimeExceeded | Code::WallTimeExceeded => {
            Status::deadline_exceeded(text)
        }
        Code::Cancelled => Status::cancelled(text),
        Code::MethodNotAllowed => Status::unimplemented(text),
        Code::PermissionDenied | Code::HostNotAllowed | Code::OriginNotAllowed => {
            Status::permission_denied(text)
        }
        Code::InvalidInput
        | Code::InvalidManifest
        | Code::InvalidComponent
        | Code::CompileLimitExceeded
        | Code::InvalidModel
        | Code::GoldenMismatch
        | Code::DigestMismatch
        | Code::UnsupportedMediaType => Status::invalid_argument(text),
        Code::Conflict | Code::PreconditionFailed | Code::IdempotencyKeyReused => {
            Status::failed_precondition(text)
        }
        Code::HandlerTrap
        | Code::HandlerStackOverflow
        | Code::HandlerOutOfMemory
        | Code::InvalidResponse
        | Code::HandlerError
        | Code::BackendFailed
        | Code::CompileFailed
        | Code::Internal => Status::internal(text),
    };
    with_code(status, problem.code)
}

/// What of a handler's text is told: clients bound what they take of metadata.
const MAX_TEXT_CHARS: usize = 1_000;

/// Why there is no answer, whoever says so. A handler's own status stands for what it means in HTTP.
pub(crate) fn status_of_failure(failure: &Failure) -> Status {
    let error = match failure {
        Failure::Host(problem) => return status(problem),
        Failure::Handler(error) => error,
    };
    let text: String = error.detail.chars().take(MAX_TEXT_CHARS).collect();
    let mut status = match error.status {
        400 | 422 => Status::invalid_argument(text),
        401 => Status::unauthenticated(text),
        403 => Status::permission_denied(text),
        404 => Status::not_found(text),
        409 | 412 => Status::failed_precondition(text),
        413 | 429 => Status::resource_exhausted(text),
        501 => Status::unimplemented(text),
        503 => Status::unavailable(text),
        408 | 504 => Status::deadline_exceeded(text),
        499 => Status::cancelled(text),
        _ => Status::internal(text),
    };
    // A handler's code is whatever it likes, and could be one of the host's.
    if let Ok(code) = error.code.parse() {
        status.metadata_mut().insert("modelet-handler-code", code);
    }
    with_code(status, Code::HandlerError)
}

fn with_code(mut status: Status, code: Code) -> Status {
    let code = code.as_str().parse().expect("a code is ASCII");
    status.metadata_mut().insert("modelet-code", code);
    status
}

impl From<TensorMetadata> for TensorDescription {
    fn from(metadata: TensorMetadata) -> Self {
        let TensorMetadata { name, datatype, shape } = metadata;
        Self { name, datatype: datatype.into(), shape }
    }
}

#[cfg(test)]
mod tests {
    use modelet_engine::HandlerProblem;
    use tonic::Code;

    use super::*;

    #[test]
    fn a_handlers_status_means_the_same_here() {
        let told = |status, code: &str| {
            let problem =
                HandlerProblem { status, code: code.into(), detail: "é".repeat(2_000), field: None };
            status_of_failure(&Failure::Handler(problem))
        };
        for (status, code) in [
            (400, Code::InvalidArgument),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::NotFound),
            (409, Code::FailedPrecondition),
            (413, Code::ResourceExhausted),
            (422, Code::InvalidArgument),
            (429, Code::ResourceExhausted),
            (500, Code::Internal),
            (501, Code::Unimplemented),
            (503, Code::Unavailable),
            (504, Code::DeadlineExceeded),
            (418, Code::Internal),
        ] {
            assert_eq!(told(status, "tired").code(), code, "{status}");
        }
        let status = told(422, "tired");
        assert_eq!(status.message().chars().count(), MAX_TEXT_CHARS);
        assert_eq!(status.metadata().get("modelet-code").unwrap(), "handler_error");
        assert_eq!(status.metadata().get("modelet-handler-code").unwrap(), "tired");
        assert!(told(422, "two\nlines").metadata().get("modelet-handler-code").is_none());
    }
}
