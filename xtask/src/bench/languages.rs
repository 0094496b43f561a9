//! The same function with its handler in each language: a call in a fresh instance, and in one that answers
//! call after call.

use anyhow::Context as _;

use super::client::Client;
use super::report::Report;
use super::server::Server;
use super::stats::percentile;
use super::{Effort, check_interrupted, cpu, host, verify};

/// Languages with the examples in them.
const LANGUAGES: [(&str, &str); 3] =
    [("rust", "examples/digits"), ("python", "examples/digits-python"), ("javascript", "examples/digits-js")];
/// Kinds of calls with what the manifest says about instances.
const KINDS: [(&str, u32); 2] = [("fresh", 1), ("reused", 1_000_000)];
/// Calls that are not counted: they wake the function, and grow what a process grows once.
const WARM_UP: usize = 20;

/// Measures each language.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("languages: {} calls each", effort.samples);
    let host = host::start()?;
    for (language, example) in LANGUAGES {
        for (kind, max_invocations) in KINDS {
            let settings =
                [format!("reuse.max_invocations={max_invocations}"), "models.digits.backend=rten".into()];
            let function = format!("{language}-{kind}");
            let settings = settings.each_ref().map(String::as_str);
            let path = host::deploy(&host, example, &function, &settings)?;
            let calls = call(&host, &path, effort.samples)?;
            let p50 = percentile(&calls.times_us, 0.5).context("there are no samples")?;
            report.add(format!("languages_{language}_{kind}_p50_us"), p50);
            report.add(format!("languages_{language}_{kind}_cpu_us"), calls.host_cpu_us);
        }
    }
    Ok(())
}

struct Calls {
    /// By the client's clock.
    times_us: Vec<f64>,
    /// CPU time of the host for each.
    host_cpu_us: f64,
}

/// Calls one after another on one connection.
fn call(host: &Server, path: &str, count: usize) -> anyhow::Result<Calls> {
    let url = format!("{}{path}", host.origin());
    verify::all(&url)?;
    let cases = verify::cases()?;
    let mut client = Client::new();
    for case in cases.iter().cycle().take(WARM_UP) {
        client.post(&url, &case.body())?;
    }
    let mut times_us = Vec::with_capacity(count);
    let before = cpu::of_tree(host.id())?;
    for case in cases.iter().cycle().take(count) {
        check_interrupted()?;
        let answer = client.post(&url, &case.body())?;
        case.check(&answer.value)?;
        times_us.push(answer.took.as_secs_f64() * 1e6);
    }
    let used = cpu::of_tree(host.id())?.saturating_sub(before);
    Ok(Calls { times_us, host_cpu_us: used.as_secs_f64() * 1e6 / count as f64 })
}
