//! The error codes that cross crates, without any protocol's status numbers.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::quota::Reached;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident => $text:literal,)+) => {
        /// What went wrong, as a caller's program can tell. Stable once published.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as it appears in answers, logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// What the code means, for the table in the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// A value in the request is not valid; `field` names it.
    InvalidInput => "invalid_input",
    /// The manifest is not valid; `field` names the entry.
    InvalidManifest => "invalid_manifest",
    /// The uploaded handler is not a component that this host can run.
    InvalidComponent => "invalid_component",
    /// Compiling the handler needs more memory or time than this host allows.
    CompileLimitExceeded => "compile_limit_exceeded",
    /// The process that compiles the handler broke off.
    CompileFailed => "compile_failed",
    /// A model file cannot be loaded, or does not fit the manifest.
    InvalidModel => "invalid_model",
    /// A model's answer differs from the golden output in the manifest.
    GoldenMismatch => "golden_mismatch",
    /// The bytes uploaded are not those that the digest names.
    DigestMismatch => "digest_mismatch",
    /// There is no key with the request, or not one that is valid.
    Unauthenticated => "unauthenticated",
    /// The key is not for this.
    PermissionDenied => "permission_denied",
    /// No such thing, or not one of this tenant's.
    NotFound => "not_found",
    /// The function exists but no revision is active.
    NotActive => "not_active",
    /// The change does not fit the present state.
    Conflict => "conflict",
    /// What was to be changed is not what the request's `if-match` says any more.
    PreconditionFailed => "precondition_failed",
    /// Another request was sent with the same idempotency key.
    IdempotencyKeyReused => "idempotency_key_reused",
    /// The method is not one that this address answers.
    MethodNotAllowed => "method_not_allowed",
    /// The `Host` header is not one that this host answers to.
    HostNotAllowed => "host_not_allowed",
    /// The request was made by a web page that is not this host's own.
    OriginNotAllowed => "origin_not_allowed",
    /// The request's body is over the limit.
    RequestTooLarge => "request_too_large",
    /// The request came too slowly.
    RequestTimeout => "request_timeout",
    /// The content type is not one that this address reads.
    UnsupportedMediaType => "unsupported_media_type",
    /// A quota of the tenant is reached; `Retry-After` says when to try again.
    QuotaExceeded => "quota_exceeded",
    /// Too much work at once; the same request may succeed after `Retry-After`.
    Overloaded => "overloaded",
    /// The host is shutting down.
    ShuttingDown => "shutting_down",
    /// The host cannot reach where it stores its data; the same request may succeed after `Retry-After`.
    StorageUnavailable => "storage_unavailable",
    /// The handler trapped: it panicked or did what WebAssembly forbids.
    HandlerTrap => "handler_trap",
    /// The handler recursed deeper than its stack.
    HandlerStackOverflow => "handler_stack_overflow",
    /// The handler needed more memory than its limit.
    HandlerOutOfMemory => "handler_out_of_memory",
    /// The handler used more CPU time than its limit.
    CpuTimeExceeded => "cpu_time_exceeded",
    /// The invocation took longer than its limit of wall time.
    WallTimeExceeded => "wall_time_exceeded",
    /// The handler's response is over the limit.
    ResponseTooLarge => "response_too_large",
    /// The handler answered with what HTTP does not allow, or with tensors that are not those of its manifest.
    InvalidResponse => "invalid_response",
    /// The handler reported an error of its own.
    HandlerError => "handler_error",
    /// The inference backend failed.
    BackendFailed => "backend_failed",
    /// The process with the tenant's models is gone, and starts again; the same request may succeed after `Retry-After`.
    WorkerLost => "worker_lost",
    /// The inference backend that the manifest asks for is not on this host.
    BackendUnavailable => "backend_unavailable",
    /// The caller left before the answer.
    Cancelled => "cancelled",
    /// The host itself failed; the invocation's id finds the reason in its log.
    Internal => "internal",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error for whoever made the request: what, where and how to mend it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// What went wrong.
    pub code: Code,
    /// One sentence for a person.
    pub detail: Cow<'static, str>,
    /// The input at fault, such as `limits.memory_bytes`.
    pub field: Option<String>,
    /// The quota that is reached, if that is what is wrong.
    pub reached: Option<Reached>,
}

impl Problem {
    /// An error that is not about one field.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), field: None, reached: None }
    }

    /// Names the input at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}
