//! The `[config]` table of the function's manifest, and its secrets.

use std::fmt;
use std::str::FromStr;

use crate::host;
use crate::problem::Problem;

/// The value of `key`, if the manifest sets it.
pub fn get(key: &str) -> Option<String> {
    host::config(key)
}

/// The value of the secret `name`, if the manifest names it in `secrets`. Each invocation begins with the
/// value that was set last.
///
/// ```
/// use modelet_sdk::testing::TestHost;
/// use modelet_sdk::{Problem, Request, config};
///
/// async fn greet() -> Result<String, Problem> {
///     let key = config::secret("api-key").ok_or_else(|| Problem::internal("there is no api-key"))?;
///     Ok(format!("a key of {} bytes", key.len()))
/// }
///
/// let host = TestHost::new().secret("api-key", "sesame");
/// assert_eq!(host.call_blocking(greet, Request::get("/")).text(), "a key of 6 bytes");
/// ```
pub fn secret(name: &str) -> Option<String> {
    get(&format!("{SECRET_PREFIX}{name}"))
}

/// What the host puts before a secret's name where it is read as configuration.
pub(crate) const SECRET_PREFIX: &str = "secret.";

/// The value of `key` as a number, a `bool`, or whatever else is read from a string.
///
/// # Errors
/// A problem that names the key, if its value is not one: 500, since it is not the caller's doing.
pub fn parse<T>(key: &str) -> Result<Option<T>, Problem>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    let Some(value) = get(key) else { return Ok(None) };
    let parsed = value.parse::<T>();
    parsed.map(Some).map_err(|error| Problem::internal(format!("config key `{key}`: {error}, got `{value}`")))
}
