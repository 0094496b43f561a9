//! The `[config]` table of the function's manifest.

use std::fmt;
use std::str::FromStr;

use crate::host;
use crate::problem::Problem;

/// The value of `key`, if the manifest sets it.
pub fn get(key: &str) -> Option<String> {
    host::config(key)
}

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
