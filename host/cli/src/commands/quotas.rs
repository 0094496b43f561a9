//! `modelet quotas`: what the tenant or a function may use, and what it uses.

use clap::Args;
use modelet_types::{FunctionName, InvocationQuotas};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet quotas
  modelet quotas digits
  modelet quotas --json | jq .month.invocations

`modelet tenant quotas` sets those of a tenant, with an operator's key, and `modelet function quotas` those of a
function, with its owner's. docs/tenants.md says what each bounds.";

/// Show the quotas of the tenant or of one function, and what it uses of them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function; left out: all that the tenant has.
    function: Option<FunctionName>,
}

/// What invocations may use, of a tenant or of a function.
#[derive(Debug, Args)]
pub struct InvocationQuotaArguments {
    /// Invocations that begin in a second.
    #[arg(long, value_name = "COUNT")]
    invocations_per_second: Option<u32>,
    /// Invocations that run or wait at one time.
    #[arg(long, value_name = "COUNT")]
    concurrency: Option<u32>,
    /// Invocations that wait for a place at one time.
    #[arg(long, value_name = "COUNT")]
    queue: Option<u32>,
    /// Memory of the invocations that run, by their limits.
    #[arg(long, value_name = "BYTES")]
    memory_bytes: Option<u64>,
    /// Bytes of tensors of the invocations that run, by their limits.
    #[arg(long, value_name = "BYTES")]
    tensor_bytes: Option<u64>,
    /// Invocations of a month.
    #[arg(long, value_name = "COUNT")]
    invocations_per_month: Option<u64>,
    /// CPU seconds of a month, of handlers and models.
    #[arg(long, value_name = "SECONDS")]
    cpu_seconds_per_month: Option<u64>,
    /// What a month may cost, such as 99.50.
    #[arg(long, value_name = "AMOUNT")]
    spend_per_month: Option<Decimal>,
}

impl InvocationQuotaArguments {
    /// The quotas.
    pub fn quotas(&self) -> InvocationQuotas {
        InvocationQuotas {
            invocations_per_second: self.invocations_per_second,
            concurrency: self.concurrency,
            queue: self.queue,
            memory_bytes: self.memory_bytes,
            tensor_bytes: self.tensor_bytes,
            invocations_per_month: self.invocations_per_month,
            cpu_seconds_per_month: self.cpu_seconds_per_month,
            spend_per_month: self.spend_per_month,
        }
    }
}

/// Refuses to set nothing at all, which would take away all that there is: whoever wants that says so.
///
/// # Errors
/// If no quota is given, nor `--none`.
pub fn check_given(is_given: bool) -> Result<(), Error> {
    let nothing =
        || Error::Usage("no quota is given: name one or more (`--help` lists them), or `--none`".into());
    is_given.then_some(()).ok_or_else(nothing)
}

/// Prints a row for each quota that could be set, and for what is used.
///
/// # Errors
/// As for [`Client::quotas`], or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.quotas(arguments.function.as_ref()).await?;
    output.answer(&answer.raw, || {
        let body = &answer.value;
        let now = |name: &str| Some(body[name].to_string());
        let of_month = |sum: &str| body["month"][sum].as_u64().unwrap_or_default();
        let cpu_s = (of_month("cpu_us") + of_month("inference_cpu_us")) / 1_000_000;
        let mut rows = vec![
            ("invocations_per_second", None),
            ("concurrency", now("running")),
            ("queue", now("waiting")),
            ("memory_bytes", now("memory_bytes")),
            ("tensor_bytes", now("tensor_bytes")),
            ("invocations_per_month", Some(of_month("invocations").to_string())),
            ("cpu_seconds_per_month", Some(cpu_s.to_string())),
            ("spend_per_month", None),
        ];
        if arguments.function.is_none() {
            rows.extend([("functions", None), ("artifact_bytes", None), ("cpu_weight", None)]);
        }
        let row = |(name, used): (&str, Option<String>)| {
            let limit = match &body["quotas"][name] {
                Value::Null => "none".to_owned(),
                Value::String(text) => text.clone(),
                limit => limit.to_string(),
            };
            [name.to_owned(), limit, used.unwrap_or_default()]
        };
        table(["QUOTA", "LIMIT", "USED"], &rows.into_iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(())
}
