//! Errors for a caller, answered by the host as `application/problem+json` (RFC 9457).
//!
//! An error enum of your own becomes one through `impl From<MyError> for Problem`; then `?` works
//! in every handler.

use std::fmt;

/// An error for whoever called the function.
///
/// ```
/// use modelet_sdk::Problem;
///
/// enum Refusal {
///     TooOld { year: u16 },
/// }
///
/// impl From<Refusal> for Problem {
///     fn from(refusal: Refusal) -> Self {
///         match refusal {
///             Refusal::TooOld { year } => {
///                 Problem::new(422, "too_old", format!("{year} is before 1900")).at("year")
///             }
///         }
///     }
/// }
///
/// # fn check(year: u16) -> Result<(), Problem> {
/// if year < 1900 {
///     Err(Refusal::TooOld { year })?;
/// }
/// # Ok(()) }
/// # assert_eq!(check(1899).unwrap_err().field.as_deref(), Some("year"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status, from 400 to 599.
    pub status: u16,
    /// A stable identifier in snake_case, for the caller's program.
    pub code: String,
    /// One sentence that says what is wrong and how to mend it.
    pub detail: String,
    /// The input at fault, such as `pixels[3]`.
    pub field: Option<String>,
}

impl Problem {
    /// A problem that is not about one field. See [`Problem::at`].
    pub fn new(status: u16, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), field: None }
    }

    /// 422 `invalid_input`: the value of `field` is not valid. The field stands before the reason
    /// in the detail, so that a person sees it too.
    pub fn invalid(field: impl Into<String>, reason: impl fmt::Display) -> Self {
        let field = field.into();
        Self::new(422, "invalid_input", format!("{field}: {reason}")).at(field)
    }

    /// 400 `invalid_input`: the request as a whole cannot be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid_input", detail)
    }

    /// 404 `not_found`: there is nothing at this path.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not_found", detail)
    }

    /// 405 `method_not_allowed`: this path answers other methods.
    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(405, "method_not_allowed", detail)
    }

    /// 500 `handler_error`: the handler cannot do what it should, whatever the request says.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, "handler_error", detail)
    }

    /// Names the input at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}
