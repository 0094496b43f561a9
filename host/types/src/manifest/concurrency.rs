//! How many invocations of a function there are at once, and which of a tenant's wait for which.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::invalid;
use crate::Problem;

/// How many invocations of the function run and wait at once on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Concurrency {
    /// Invocations that run at once.
    pub limit: u32,
    /// Invocations that wait for one of those to end; more are answered 503 with `Retry-After`.
    pub queue: u32,
    /// The longest wait.
    pub queue_timeout_ms: u64,
    /// How its calls of models stand to those of the tenant's other functions.
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { limit: 64, queue: 1_024, queue_timeout_ms: 10_000, priority: Priority::Normal }
    }
}

impl Concurrency {
    pub(super) fn check(&self) -> Result<(), Problem> {
        let out_of_range = |name: &str, value: u64, low: u64, high: u64| {
            Err(invalid(
                format!("concurrency.{name}"),
                format!("{value} is out of range: use {low} to {high}"),
            ))
        };
        if !(1..=10_000).contains(&self.limit) {
            return out_of_range("limit", self.limit.into(), 1, 10_000);
        }
        if self.queue > 100_000 {
            return out_of_range("queue", self.queue.into(), 0, 100_000);
        }
        if self.queue_timeout_ms > 600_000 {
            return out_of_range("queue_timeout_ms", self.queue_timeout_ms, 0, 600_000);
        }
        Ok(())
    }

    /// The longest wait.
    pub fn queue_timeout(&self) -> Duration {
        Duration::from_millis(self.queue_timeout_ms)
    }
}

/// How calls of models stand to others of the same tenant. It is nothing between tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Four times the time of `normal`, while both wait.
    High,
    /// Those that nothing is said of.
    #[default]
    Normal,
    /// A quarter of the time of `normal`, while both wait: for what can, such as scoring in batches.
    Low,
}

impl Priority {
    /// All of them, the first first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_is_said_where_it_is_not_normal() {
        let said: Concurrency = serde_json::from_str(r#"{"priority":"low"}"#).unwrap();
        assert_eq!(said.priority, Priority::Low);
        assert!(serde_json::to_string(&said).unwrap().contains(r#""priority":"low""#));
        let silent = serde_json::to_string(&Concurrency::default()).unwrap();
        assert!(!silent.contains("priority"), "older hosts read it: {silent}");
        let unknown = serde_json::from_str::<Concurrency>(r#"{"priority":"urgent"}"#).unwrap_err();
        assert!(unknown.to_string().contains("`high`, `normal`, `low`"), "{unknown}");
        assert!(Priority::ALL.is_sorted());
    }
}
