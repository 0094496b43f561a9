//! Why an invocation failed, and the order in which causes are told apart.

use modelet_types::{Code, Problem};
use wasmtime::Trap;

/// An invocation that gave no response.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The handler reported an error of its own.
    #[error("{}", .0.detail)]
    Handler(HandlerProblem),
    /// The host ended the invocation, or could not begin it.
    #[error(transparent)]
    Host(#[from] Problem),
}

impl Failure {
    pub(crate) fn host(code: Code, detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::Host(Problem::new(code, detail))
    }

    /// The error code.
    pub fn code(&self) -> Code {
        match self {
            Self::Handler(_) => Code::HandlerError,
            Self::Host(problem) => problem.code,
        }
    }
}

/// An error in the handler's own words. See `modelet:handler/types.problem`.
#[derive(Clone, Debug, PartialEq)]
pub struct HandlerProblem {
    /// From 400 to 599.
    pub status: u16,
    /// A stable identifier of the handler's choice.
    pub code: String,
    /// One sentence for a person.
    pub detail: String,
    /// The input at fault.
    pub field: Option<String>,
}

/// The handler used up its CPU time; raised from the epoch callback.
#[derive(Debug, thiserror::Error)]
#[error("the handler used more CPU time than its limit of {limit_ms} ms")]
pub(crate) struct CpuTimeExceeded {
    pub(crate) limit_ms: u64,
}

/// The handler's streamed response is over its limit; raised from the stream's consumer.
#[derive(Debug, thiserror::Error)]
#[error("the response is over the limit of {limit} bytes (limits.response_body_bytes)")]
pub(crate) struct ResponseTooLarge {
    pub(crate) limit: u64,
}

/// Tells what `error`, which ended an invocation, was. `memory_refused`: whether the handler had
/// been refused memory, whose usual consequence is an abort somewhere in the guest's allocator.
pub(crate) fn classify(error: &wasmtime::Error, memory_refused: bool, memory_bytes: u64) -> Failure {
    // From the request's stream: the caller's doing, not the handler's.
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return Failure::Host(problem.clone());
    }
    if let Some(exceeded) = error.downcast_ref::<CpuTimeExceeded>() {
        return Failure::host(Code::CpuTimeExceeded, format!("{exceeded} (limits.cpu_time_ms)"));
    }
    if let Some(exceeded) = error.downcast_ref::<ResponseTooLarge>() {
        return Failure::host(Code::ResponseTooLarge, exceeded.to_string());
    }
    if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some() {
        return Failure::host(Code::Overloaded, "every instance of this host is in use");
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::StackOverflow) || (trap == Some(&Trap::MemoryOutOfBounds) && is_below_zero(error))
    {
        return Failure::host(
            Code::HandlerStackOverflow,
            "the handler recursed deeper than its stack; the function's log has the backtrace",
        );
    }
    if memory_refused || trap == Some(&Trap::AllocationTooLarge) {
        let detail = format!(
            "the handler needed more memory than its limit of {memory_bytes} bytes (limits.memory_bytes)"
        );
        return Failure::host(Code::HandlerOutOfMemory, detail);
    }
    Failure::host(
        Code::HandlerTrap,
        "the handler trapped; the function's log has the message and the backtrace",
    )
}

/// Whether the memory fault that `error` reports is at an address just below zero. A guest's own
/// stack lies at the bottom of its memory and grows downwards, so this is where it runs out of it.
fn is_below_zero(error: &wasmtime::Error) -> bool {
    // wasmtime attaches the fault as a context whose type is private.
    const FAULT: &str = "memory fault at wasm address 0x";
    const LOWEST: u64 = (4 << 30) - (16 << 20);
    error.chain().any(|cause| {
        let text = cause.to_string();
        let digits = text.split_once(FAULT).map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
        digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).is_some_and(|at| at >= LOWEST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_requests_stream_reports_is_not_a_trap() {
        let problem = Problem::new(Code::RequestTooLarge, "the request's body is too large").at("body");
        let error = wasmtime::Error::from(problem.clone()).context("a backtrace");
        assert_eq!(classify(&error, true, 0), Failure::Host(problem));
    }
}
