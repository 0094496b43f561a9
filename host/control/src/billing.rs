//! Bills: what a tenant's usage of a month costs, by the prices of its plan.
//!
//! How amounts are calculated is in `modelet_types::plan`.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use modelet_store::{Tenant, UsageQuery, UsageSum, hour_of};
use modelet_types::plan::{BillLine, Plan};
use modelet_types::{Code, FunctionName, Limits, Problem, TenantName, Usage};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::Control;

/// The plan of a tenant to which none was given.
pub const DEFAULT_PLAN: &str = "default";

/// An invocation counts in the hour in which it began, and none goes on for longer than this after it.
const LONGEST_INVOCATION: SignedDuration =
    SignedDuration::from_millis(Limits::HIGHEST.wall_time_ms as i64 + 60_000);

/// Prices, as the operator's configuration gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Billing {
    /// The currency's code (ISO 4217).
    pub currency: String,
    /// The plans by name. That of a tenant to which none was given is `default`.
    pub plans: BTreeMap<String, Plan>,
}

/// A tenant's bill of a month.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statement {
    /// Who pays.
    pub tenant: TenantName,
    /// The month, such as `2026-11`.
    pub month: String,
    /// From this moment on.
    pub from: Timestamp,
    /// Before this moment.
    pub to: Timestamp,
    /// Whether every invocation that began in the month has ended, so that nothing is added any more.
    pub is_final: bool,
    /// The plan, if the tenant has one.
    pub plan: Option<String>,
    /// The currency's code.
    pub currency: String,
    /// What was used, by meter, and what that costs; empty without a plan.
    pub lines: Vec<BillLine>,
    /// The sum of the lines.
    pub total: Decimal,
    /// All that was used.
    pub usage: Usage,
    /// The same by function.
    pub functions: Vec<FunctionUsage>,
}

/// The usage of one function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionUsage {
    /// The function.
    pub function: FunctionName,
    /// What it used.
    pub usage: Usage,
}

/// A month of the calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month(Date);

impl Month {
    /// The month of a moment.
    pub fn of(moment: Timestamp) -> Self {
        Self(Offset::UTC.to_datetime(moment).date().first_of_month())
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Offset::UTC
            .to_timestamp(self.0.at(0, 0, 0, 0))
            .expect("the years that a month has are within those of time")
    }

    /// The first moment after it.
    pub fn end(self) -> Timestamp {
        Self(self.0.saturating_add(1.month())).start()
    }
}

impl std::str::FromStr for Month {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let date: Option<Date> = (text.len() == 7).then(|| format!("{text}-01").parse().ok()).flatten();
        let of_today = |date: &Date| (1970..=2_999).contains(&date.year());
        date.filter(of_today).map(Self).ok_or_else(|| {
            let detail = "a month is written as YYYY-MM, such as 2026-11";
            Problem::new(Code::InvalidInput, detail).at("month")
        })
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

impl Control {
    /// A tenant's bill of a month, of all that has happened until now.
    ///
    /// # Errors
    /// If there is no such tenant, or the store or the ledger fails.
    pub async fn statement(&self, tenant: &TenantName, month: Month) -> Result<Statement, Problem> {
        self.add_up_usage().await?;
        let (from, to) = (month.start(), month.end());
        let query = UsageQuery {
            from_hour: hour_of(from),
            to_hour: hour_of(to),
            function: None,
            hours_per_row: 0,
            by_function: true,
            by_revision: false,
            // More functions than a tenant ever has.
            limit: u32::MAX,
        };
        let known = self.store().tenant(tenant).await?;
        let plan = self.plan_of(&known);
        let sums = self.store().usage(tenant, &query).await?;
        let usage = sums.iter().map(|sum| sum.usage).sum();
        let functions = sums.into_iter().filter_map(|UsageSum { function, usage, .. }| {
            Some(FunctionUsage { function: function?, usage })
        });
        let lines = plan.map(|(_, plan)| plan.lines(&usage)).unwrap_or_default();
        Ok(Statement {
            tenant: tenant.clone(),
            month: month.to_string(),
            from,
            to,
            is_final: to.saturating_add(LONGEST_INVOCATION).is_ok_and(|end| end <= Timestamp::now()),
            total: lines.iter().map(|line| line.amount).sum(),
            plan: plan.map(|(name, _)| name.to_owned()),
            currency: self.config.billing.currency.clone(),
            lines,
            usage,
            functions: functions.collect(),
        })
    }

    /// The plan of a tenant with its name, if it has one.
    pub(crate) fn plan_of(&self, tenant: &Tenant) -> Option<(&str, &Plan)> {
        let name = tenant.plan.as_deref().unwrap_or(DEFAULT_PLAN);
        let (name, plan) = self.config.billing.plans.get_key_value(name)?;
        Some((name, plan))
    }

    /// Checks that there is a plan of this name.
    ///
    /// # Errors
    /// With those there are.
    pub(crate) fn check_plan(&self, plan: &str) -> Result<(), Problem> {
        let plans = &self.config.billing.plans;
        if plans.contains_key(plan) {
            return Ok(());
        }
        let names: Vec<_> = plans.keys().map(|name| format!("`{name}`")).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let shown: String = plan.chars().take(80).collect();
        let detail =
            format!("the host has no plan `{shown}`: `billing.plans` of its configuration has {known}");
        Err(Problem::new(Code::NotFound, detail).at("plan"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        let month: Month = "2028-02".parse().unwrap();
        assert_eq!(month.start().to_string(), "2028-02-01T00:00:00Z");
        assert_eq!(month.end().to_string(), "2028-03-01T00:00:00Z");
        assert_eq!(Month::of("2026-12-31T23:59:59.999Z".parse().unwrap()).to_string(), "2026-12");
        for wrong in ["2026-13", "2026", "26-1", "2026-1-1", "2026-11-01", "99999-1", "-001-01", "abcd-ef"] {
            assert!(wrong.parse::<Month>().is_err(), "{wrong}");
        }
    }
}
