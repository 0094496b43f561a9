//! The most that a tenant may use, and what a caller is told who wants more.

use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{Code, Problem};

/// The heaviest that a tenant may be.
pub const MAX_CPU_WEIGHT: u32 = 100;

/// The most that a tenant may use. What is left out has no bound but the host's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Invocations that begin in a second; as many may begin at once after a second without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocations_per_second: Option<u32>,
    /// Invocations that run or wait at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Of those, the ones that wait for a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Memory that invocations may have at one time, in bytes: each counts with its `limits.memory_bytes`
    /// and `limits.tensor_bytes`, from its beginning to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes of tensors that invocations may hold at one time: each counts with its `limits.tensor_bytes`, from
    /// its beginning to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_bytes: Option<u64>,
    /// Functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions: Option<u32>,
    /// Bytes of artifacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_bytes: Option<u64>,
    /// Invocations of a month, UTC, that are billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocations_per_month: Option<u64>,
    /// CPU seconds of a month, of handlers and models together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_per_month: Option<u64>,
    /// What the invocations of a month may cost, in the currency of the host's plans; decimal, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, pattern = r"^[0-9]{1,18}(\.[0-9]{1,9})?$"))]
    pub spend_per_month: Option<Decimal>,
    /// The tenant's part of the processors while others want them too, as it stands to theirs: 1 to 100. Left
    /// out, it is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
}

impl Quotas {
    /// Those of invocations. (They are not flattened: `deny_unknown_fields` does not go with that.)
    pub fn of_invocations(&self) -> InvocationQuotas {
        // All of them by name, so that no new one is forgotten.
        let Self {
            invocations_per_second,
            concurrency,
            queue,
            memory_bytes,
            tensor_bytes,
            functions: _,
            artifact_bytes: _,
            invocations_per_month,
            cpu_seconds_per_month,
            spend_per_month,
            cpu_weight: _,
        } = *self;
        InvocationQuotas {
            invocations_per_second,
            concurrency,
            queue,
            memory_bytes,
            tensor_bytes,
            invocations_per_month,
            cpu_seconds_per_month,
            spend_per_month,
        }
    }

    /// Checks that the values make sense.
    ///
    /// # Errors
    /// For a spending limit below 0, or a weight that is out of range.
    pub fn check(&self) -> Result<(), Problem> {
        if let Some(weight) = self.cpu_weight.filter(|weight| !(1..=MAX_CPU_WEIGHT).contains(weight)) {
            let detail = format!("{weight} is out of range: use 1 to {MAX_CPU_WEIGHT} (default 1)");
            return Err(Problem::new(Code::InvalidInput, detail).at("cpu_weight"));
        }
        self.of_invocations().check()
    }

    /// The weight in numbers.
    pub fn cpu_weight(&self) -> u32 {
        self.cpu_weight.unwrap_or(1).clamp(1, MAX_CPU_WEIGHT)
    }
}

/// The most that the invocations of one function may use, within what its tenant may. Each is as the one of
/// its name in [`Quotas`]; what is left out has no bound of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct InvocationQuotas {
    /// Invocations that begin in a second; as many may begin at once after a second without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocations_per_second: Option<u32>,
    /// Invocations that run or wait at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Of those, the ones that wait for a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Memory that they may have at one time, in bytes: each counts with its `limits.memory_bytes` and
    /// `limits.tensor_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes of tensors that they may hold at one time: each counts with its `limits.tensor_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_bytes: Option<u64>,
    /// Invocations of a month, UTC, that are billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocations_per_month: Option<u64>,
    /// CPU seconds of a month, of handlers and models together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_per_month: Option<u64>,
    /// What those of a month may cost, in the currency of the host's plans, where nothing is free; decimal, as
    /// text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, pattern = r"^[0-9]{1,18}(\.[0-9]{1,9})?$"))]
    pub spend_per_month: Option<Decimal>,
}

/// Of a tenant, with no others.
impl From<InvocationQuotas> for Quotas {
    fn from(quotas: InvocationQuotas) -> Self {
        let InvocationQuotas {
            invocations_per_second,
            concurrency,
            queue,
            memory_bytes,
            tensor_bytes,
            invocations_per_month,
            cpu_seconds_per_month,
            spend_per_month,
        } = quotas;
        Self {
            invocations_per_second,
            concurrency,
            queue,
            memory_bytes,
            tensor_bytes,
            invocations_per_month,
            cpu_seconds_per_month,
            spend_per_month,
            ..Self::default()
        }
    }
}

impl InvocationQuotas {
    /// Whether any is of what is used in a month.
    pub fn has_months(&self) -> bool {
        self.invocations_per_month.is_some()
            || self.cpu_seconds_per_month.is_some()
            || self.spend_per_month.is_some()
    }

    /// Checks that the values make sense.
    ///
    /// # Errors
    /// For a spending limit below 0.
    pub fn check(&self) -> Result<(), Problem> {
        if self.spend_per_month.is_some_and(|spend| spend.is_sign_negative()) {
            let detail = "a spending limit is 0 or more";
            return Err(Problem::new(Code::InvalidInput, detail).at("spend_per_month"));
        }
        Ok(())
    }
}

/// Whose a quota is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// All that a tenant has.
    Tenant,
    /// One function.
    Function,
}

/// A quota that is used up, as the headers for it say (draft-ietf-httpapi-ratelimit-headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Whose it is.
    pub holder: Holder,
    /// The field of [`Quotas`] or [`InvocationQuotas`].
    pub quota: &'static str,
    /// How much it is, in the quota's unit.
    pub limit: u64,
    /// The time for which it is, if it is for one.
    pub window: Option<Duration>,
    /// When it is worth trying again.
    pub retry_after: Duration,
}

impl Reached {
    /// As an error: `what` says what there would be too many of.
    pub fn problem(self, what: &str) -> Problem {
        let (whose, who) = match self.holder {
            Holder::Tenant => ("tenant", "the host's operator"),
            Holder::Function => ("function", "its owner"),
        };
        let detail = format!(
            "the {whose}'s quota of {} {what} is reached (`{}`): try again in {} s, or ask {who} for more",
            self.limit,
            self.quota,
            self.retry_after_s()
        );
        Problem { reached: Some(self), ..Problem::new(Code::QuotaExceeded, detail) }
    }

    /// The quota by a name of its own among those of tenants and functions.
    pub fn name(&self) -> String {
        match self.holder {
            Holder::Tenant => self.quota.to_owned(),
            Holder::Function => format!("function.{}", self.quota),
        }
    }

    /// In whole seconds, rounded up, and at least 1.
    pub fn retry_after_s(&self) -> u64 {
        (self.retry_after.as_millis().div_ceil(1_000) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_has_a_range() {
        let weighing = |cpu_weight| Quotas { cpu_weight, ..Quotas::default() };
        assert_eq!(weighing(None).check(), Ok(()));
        assert_eq!(weighing(None).cpu_weight(), 1);
        assert_eq!(weighing(Some(100)).check(), Ok(()));
        for wrong in [0, 101, u32::MAX] {
            assert_eq!(weighing(Some(wrong)).check().unwrap_err().field.as_deref(), Some("cpu_weight"));
        }
    }
}
