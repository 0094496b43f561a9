//! Why a call of the host failed, and what a caller is told about it.
//!
//! The first seven variants are those of `modelet:inference/tensors.error`; the others are mistakes
//! in reading what a model gave.

use crate::element::ElementType;
use crate::problem::Problem;

/// Why a tensor, a model, a body or the answer to a request could not be used.
///
/// `?` turns it into a [`Problem`] in a handler.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// No such model.
    #[error("{0}")]
    NotFound(String),
    /// The revision was not granted this.
    #[error("{0}")]
    NotAllowed(String),
    /// A shape, an element type or a length does not fit, or an input or output is missing, unknown,
    /// or named twice.
    #[error("{0}")]
    InvalidInput(String),
    /// A queue or a budget is full. The same call may succeed later.
    #[error("{0}")]
    Overloaded(String),
    /// The invocation's deadline passed before the model answered.
    #[error("the deadline passed before the model answered")]
    DeadlineExceeded,
    /// The caller left, so the work was stopped.
    #[error("the caller left")]
    Cancelled,
    /// The backend could not run the model on these inputs.
    #[error("{0}")]
    Backend(String),
    /// A request that the handler made had no answer, or not one that can be used.
    #[error("{0}")]
    RequestFailed(String),
    /// Elements were asked for as another type than they have.
    #[error("the elements are of type {got}, but were asked for as {wanted}")]
    WrongElementType {
        /// The type asked for.
        wanted: ElementType,
        /// The type that they have.
        got: ElementType,
    },
    /// A tensor was asked for in another form than its shape has.
    #[error("the tensor has shape {got:?}, but {wanted} was asked for")]
    WrongShape {
        /// What was asked for, such as `one element`.
        wanted: String,
        /// The shape that it has.
        got: Vec<usize>,
    },
}

impl From<Error> for Problem {
    /// The status says whose turn it is: 4xx the caller's, 503 and 504 try again, 500 the author's.
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            Error::InvalidInput(_) => (422, "invalid_input"),
            Error::Overloaded(_) => (503, "overloaded"),
            Error::DeadlineExceeded => (504, "wall_time_exceeded"),
            // Nobody reads it; the number is nginx's for a client that closed its request.
            Error::Cancelled => (499, "cancelled"),
            Error::Backend(_) => (500, "backend_failed"),
            // Whoever was asked is at fault, as far as this handler knows.
            Error::RequestFailed(_) => (502, "request_failed"),
            Error::NotFound(_)
            | Error::NotAllowed(_)
            | Error::WrongElementType { .. }
            | Error::WrongShape { .. } => (500, "handler_error"),
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_of_the_handler_is_not_blamed_on_the_caller() {
        let problem = Problem::from(Error::NotFound("no model `digit`; there is `digits`".into()));
        assert_eq!((problem.status, problem.code.as_str()), (500, "handler_error"));
        let problem = Problem::from(Error::InvalidInput("input `input` takes shape [any, 64]".into()));
        assert_eq!(problem.status, 422);
    }

    #[test]
    fn what_may_pass_says_so() {
        assert_eq!(Problem::from(Error::Overloaded("the queue is full".into())).status, 503);
        assert_eq!(Problem::from(Error::DeadlineExceeded).status, 504);
    }
}
