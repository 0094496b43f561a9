//! Fills a ledger with records of one month, and says what they sum up to: for the benchmark of bills.
//!
//! `fill_ledger FOLDER RECORDS TENANTS FIRST_DAY`: the tenants are called `t0`, `t1` and so on, and each has
//! five functions. Prints the sums as JSON. They are added up here by a few lines of their own, so that they
//! can be held against those of the host.

use std::error::Error;

use jiff::Timestamp;
use modelet_observe::{Ledger, LedgerConfig, Outcome, UsageRecord};
use modelet_types::{Code, FunctionName, InvocationId, RevisionNumber, TenantName};
use serde_json::json;

const FUNCTIONS: u64 = 5;
const MONTH_US: u64 = 30 * 24 * 3_600 * 1_000_000;
/// Records that are on their way to the file at one time.
const IN_FLIGHT: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, records, tenants, first_day] = &arguments[..] else {
        return Err("usage: fill_ledger FOLDER RECORDS TENANTS FIRST_DAY".into());
    };
    let (records, tenants): (u64, u64) = (records.parse()?, tenants.parse()?);
    let start: Timestamp = format!("{first_day}T00:00:00Z").parse()?;
    let ledger = Ledger::open(folder, LedgerConfig::default())?;
    let names =
        (0..tenants).map(|number| format!("t{number}").parse()).collect::<Result<Vec<TenantName>, _>>()?;
    let functions = (0..FUNCTIONS)
        .map(|number| format!("f{number}").parse())
        .collect::<Result<Vec<FunctionName>, _>>()?;
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let [mut invocations, mut failed, mut not_billed, mut duration_ms, mut cpu_us, mut request_bytes] =
        [0_u64; 6];
    let mut receipts = Vec::with_capacity(IN_FLIGHT);
    for number in 0..records {
        let at = start.as_microsecond() + i64::try_from(number * (MONTH_US / records.max(1)))?;
        let outcome = match noise.below(100) {
            0 => Outcome::Failed(Code::Overloaded),
            1..=3 => Outcome::Failed(Code::HandlerTrap),
            _ => Outcome::Ok,
        };
        let queue_time_us = noise.below(200);
        let record = UsageRecord {
            invocation: InvocationId::generate(),
            tenant: names[usize::try_from(noise.below(tenants))?].clone(),
            function: functions[usize::try_from(noise.below(FUNCTIONS))?].clone(),
            revision: RevisionNumber(1 + noise.below(3)),
            started_at: Timestamp::from_microsecond(at)?,
            wall_time_us: queue_time_us + noise.below(50_000),
            queue_time_us,
            wake_time_us: 0,
            cpu_time_us: noise.below(2_000),
            inference_cpu_time_us: noise.below(9_000),
            peak_memory_bytes: noise.below(64 << 20),
            request_bytes: noise.below(10_000),
            response_bytes: noise.below(1_000),
            status: 200,
            outcome,
            cold: false,
        };
        if outcome == Outcome::Failed(Code::Overloaded) {
            not_billed += 1;
        } else {
            invocations += 1;
            failed += u64::from(outcome != Outcome::Ok);
            let ran_us = record.wall_time_us - record.queue_time_us;
            duration_ms += ran_us.div_ceil(1_000);
            cpu_us += record.cpu_time_us;
            request_bytes += record.request_bytes;
        }
        receipts.push(ledger.submit(&record));
        if receipts.len() == IN_FLIGHT {
            for receipt in receipts.drain(..) {
                receipt.written().await?;
            }
        }
    }
    for receipt in receipts {
        receipt.written().await?;
    }
    let sums = json!({
        "invocations": invocations, "failed": failed, "not_billed": not_billed, "duration_ms": duration_ms,
        "cpu_us": cpu_us, "request_bytes": request_bytes,
    });
    println!("{sums}");
    Ok(())
}

/// Numbers that look random and are the same each time (xorshift, Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
