//! Prices, and what usage costs by them.
//!
//! Amounts are decimal numbers, and exact: each meter's quantity is summed up in whole units of the smallest
//! size, and only its amount is rounded, half away from zero, to six decimals of the currency. The total is
//! the sum of the rounded amounts.

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use crate::Usage;

/// Decimals of an amount.
const DECIMALS: u32 = 6;

/// What a tenant pays. Numbers are decimal, as text, so that none of them is rounded on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// The price of a million invocations.
    pub per_million_invocations: Decimal,
    /// The price of a GiB of memory for a second.
    pub per_gib_second: Decimal,
    /// The price of a second of handlers' CPU time.
    pub per_cpu_second: Decimal,
    /// The price of a second of models' CPU time.
    pub per_inference_second: Decimal,
    /// Invocations of a month that cost nothing.
    pub free_invocations: u64,
    /// GiB-seconds of a month that cost nothing.
    pub free_gib_seconds: u64,
    /// Seconds of handlers' CPU time of a month that cost nothing.
    pub free_cpu_seconds: u64,
    /// Seconds of models' CPU time of a month that cost nothing.
    pub free_inference_seconds: u64,
}

/// What is counted, in which unit, and how many of the counted units make one that has a price.
struct Meter {
    name: &'static str,
    unit: &'static str,
    counted: fn(&Usage) -> u64,
    /// Counted units in one that is shown.
    per_unit: u64,
    price: fn(&Plan) -> Decimal,
    /// Shown units that the price is for.
    priced_units: u64,
    free: fn(&Plan) -> u64,
}

/// MiB·ms in a GiB·s.
const MIB_MS_PER_GIB_S: u64 = 1_024 * 1_000;
const US_PER_S: u64 = 1_000_000;

const METERS: [Meter; 4] = [
    Meter {
        name: "invocations",
        unit: "invocations",
        counted: |usage| usage.invocations,
        per_unit: 1,
        price: |plan| plan.per_million_invocations,
        priced_units: 1_000_000,
        free: |plan| plan.free_invocations,
    },
    Meter {
        name: "memory",
        unit: "GiB-seconds",
        counted: |usage| usage.memory_mib_ms,
        per_unit: MIB_MS_PER_GIB_S,
        price: |plan| plan.per_gib_second,
        priced_units: 1,
        free: |plan| plan.free_gib_seconds,
    },
    Meter {
        name: "cpu",
        unit: "CPU seconds",
        counted: |usage| usage.cpu_us,
        per_unit: US_PER_S,
        price: |plan| plan.per_cpu_second,
        priced_units: 1,
        free: |plan| plan.free_cpu_seconds,
    },
    Meter {
        name: "inference",
        unit: "inference seconds",
        counted: |usage| usage.inference_cpu_us,
        per_unit: US_PER_S,
        price: |plan| plan.per_inference_second,
        priced_units: 1,
        free: |plan| plan.free_inference_seconds,
    },
];

/// One line of a bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BillLine {
    /// What is counted.
    pub meter: &'static str,
    /// In which unit.
    pub unit: &'static str,
    /// How many were used.
    pub quantity: Decimal,
    /// How many of them cost nothing.
    pub free: Decimal,
    /// The price of `priced_units` of them.
    pub price: Decimal,
    /// How many units the price is for.
    pub priced_units: u64,
    /// What they cost.
    pub amount: Decimal,
}

impl Plan {
    /// What usage costs, by meter.
    pub fn lines(&self, usage: &Usage) -> Vec<BillLine> {
        METERS.iter().map(|meter| meter.line(self, usage)).collect()
    }

    /// What usage costs.
    pub fn total(&self, usage: &Usage) -> Decimal {
        METERS.iter().map(|meter| meter.amount(self, usage)).sum()
    }

    /// The same prices, where nothing is free.
    #[must_use]
    pub fn without_free(&self) -> Self {
        Self {
            free_invocations: 0,
            free_gib_seconds: 0,
            free_cpu_seconds: 0,
            free_inference_seconds: 0,
            ..self.clone()
        }
    }

    /// Why these prices make no sense, by field.
    pub fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let prices = [
            ("per_million_invocations", self.per_million_invocations),
            ("per_gib_second", self.per_gib_second),
            ("per_cpu_second", self.per_cpu_second),
            ("per_inference_second", self.per_inference_second),
        ];
        let wrong = |price: &Decimal| price.is_sign_negative() || *price > Decimal::from(1_000_000);
        let found = prices.into_iter().find(|(_, price)| wrong(price));
        found.map(|(field, _)| (field, "a price is 0 to 1000000"))
    }
}

impl Meter {
    /// Counted units that cost nothing.
    fn free_units(&self, plan: &Plan, counted: u64) -> u64 {
        (self.free)(plan).saturating_mul(self.per_unit).min(counted)
    }

    /// What usage costs, rounded. An invocation may wait for this, so it does no more than it must.
    fn amount(&self, plan: &Plan, usage: &Usage) -> Decimal {
        let counted = (self.counted)(usage);
        let units = counted - self.free_units(plan, counted);
        let price = (self.price)(plan);
        if units == 0 || price.is_zero() {
            return Decimal::new(0, DECIMALS);
        }
        // A quantity has at most 20 digits and a price at most 7 before its point: the product fits, and what
        // it loses of its decimals is far behind those that are kept.
        let mut exact = Decimal::from(units) * price;
        for divisor in [self.per_unit, self.priced_units] {
            if divisor != 1 {
                exact /= Decimal::from(divisor);
            }
        }
        let mut amount = exact.round_dp_with_strategy(DECIMALS, RoundingStrategy::MidpointAwayFromZero);
        // Written with all of its decimals, as money is.
        amount.rescale(DECIMALS);
        amount
    }

    fn line(&self, plan: &Plan, usage: &Usage) -> BillLine {
        let counted = (self.counted)(usage);
        let in_units = |counted: u64| Decimal::from(counted) / Decimal::from(self.per_unit);
        BillLine {
            meter: self.name,
            unit: self.unit,
            quantity: in_units(counted).round_dp(DECIMALS).normalize(),
            free: in_units(self.free_units(plan, counted)).round_dp(DECIMALS).normalize(),
            price: (self.price)(plan).normalize(),
            priced_units: self.priced_units,
            amount: self.amount(plan, usage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            per_million_invocations: "0.20".parse().unwrap(),
            per_gib_second: "0.0000166667".parse().unwrap(),
            per_cpu_second: "0.00001".parse().unwrap(),
            per_inference_second: "0.00004".parse().unwrap(),
            free_invocations: 1_000_000,
            free_gib_seconds: 400,
            ..Plan::default()
        }
    }

    #[test]
    fn a_bill_is_what_a_person_would_calculate() {
        let usage = Usage {
            invocations: 3_500_000,
            memory_mib_ms: 1_000 * MIB_MS_PER_GIB_S,
            cpu_us: 90_000_500_000,
            inference_cpu_us: 12_345_678,
            ..Usage::default()
        };
        let lines = plan().lines(&usage);
        let shown: Vec<_> = lines
            .iter()
            .map(|line| (line.quantity.to_string(), line.free.to_string(), line.amount.to_string()))
            .collect();
        let line = |quantity: &str, free: &str, amount: &str| {
            (quantity.to_owned(), free.to_owned(), amount.to_owned())
        };
        assert_eq!(
            shown,
            [
                // 2.5 million at 0.20
                line("3500000", "1000000", "0.500000"),
                // 600 GiB-s at 0.0000166667 are 0.01000002
                line("1000", "400", "0.010000"),
                // 90,000.5 s at 0.00001 are 0.900005
                line("90000.5", "0", "0.900005"),
                // 12.345678 s at 0.00004 are 0.00049382712
                line("12.345678", "0", "0.000494"),
            ]
        );
        assert_eq!(plan().total(&usage).to_string(), "1.410499");
    }

    #[test]
    fn what_is_free_costs_nothing_and_the_largest_usage_has_a_price() {
        let usage = Usage { invocations: 999_999, ..Usage::default() };
        assert_eq!(plan().total(&usage), Decimal::ZERO);
        let most = Usage {
            invocations: u64::MAX,
            memory_mib_ms: u64::MAX,
            cpu_us: u64::MAX,
            inference_cpu_us: u64::MAX,
            ..Usage::default()
        };
        let dear = Decimal::from(1_000_000);
        let plan = Plan {
            per_million_invocations: dear,
            per_gib_second: dear,
            per_cpu_second: dear,
            per_inference_second: dear,
            ..Plan::default()
        };
        assert!(plan.mistake().is_none() && plan.total(&most) > dear);
        assert!(Plan { per_cpu_second: Decimal::from(-1), ..Plan::default() }.mistake().is_some());
    }
}
