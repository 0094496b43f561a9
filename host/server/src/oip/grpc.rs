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

use modelet_types::{Code, Problem};
use tonic::Status;

use super::{TensorMetadata, text_of};

/// An error, as gRPC has it. The host's own code is in its metadata, as `modelet-code`.
pub(crate) fn status(problem: &Problem) -> Status {
    let text = text_of(problem);
    let mut status = match problem.code {
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
        Code::Conflict => Status::failed_precondition(text),
        Code::HandlerTrap
        | Code::HandlerStackOverflow
        | Code::HandlerOutOfMemory
        | Code::InvalidResponse
        | Code::HandlerError
        | Code::BackendFailed
        | Code::CompileFailed
        | Code::Internal => Status::internal(text),
    };
    let code = problem.code.as_str().parse().expect("a code is ASCII");
    status.metadata_mut().insert("modelet-code", code);
    status
}

impl From<TensorMetadata> for TensorDescription {
    fn from(metadata: TensorMetadata) -> Self {
        let TensorMetadata { name, datatype, shape } = metadata;
        Self { name, datatype: datatype.into(), shape }
    }
}
