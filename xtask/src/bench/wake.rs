//! The first call of a function that has gone cold, through HTTP, by the client's clock.
//!
//! Before every sample the control API has to show that the layers are cold: compiled code, linked
//! handler and instances, and where it says so the model's session too.
//!
//! A host is there for many functions, so before a sample it has answered calls of another one, whose
//! component and model are others. What waking costs a host that has had nothing at all to do is
//! measured beside it: there the processor's caches have lost the host as well.

use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::client::Client;
use super::report::Report;
use super::server::Server;
use super::stats::percentile;
use super::{Effort, check_interrupted, host, verify};
use crate::workspace;

/// How often the state is asked for.
const INTERVAL: Duration = Duration::from_millis(5);
/// The longest that going cold may take; it should take the host's next sweep.
const PATIENCE: Duration = Duration::from_secs(10);
/// An idle timeout that ends before the next sample.
const AT_ONCE: &str = "1";
/// An idle timeout that the benchmark does not live to see.
const NEVER: &str = "3600000";

/// The other function that is called, and what it is sent.
const NEIGHBOUR: &str = "examples/filetype";
const NEIGHBOUR_REQUEST: &str = "examples/filetype/requests/short.txt";
/// Its calls before each sample.
const NEIGHBOUR_CALLS: usize = 3;

/// A function that goes cold between calls.
struct Sleeper {
    /// Its name, and the beginning of its figures' keys.
    name: &'static str,
    backend: &'static str,
    /// Whether another function is called before each sample.
    has_neighbour: bool,
    /// Whether the model's session goes cold too.
    session_sleeps: bool,
}

const SLEEPERS: [Sleeper; 4] = [
    Sleeper { name: "wake_handler", backend: "onnxruntime", has_neighbour: true, session_sleeps: false },
    Sleeper {
        name: "wake_handler_alone",
        backend: "onnxruntime",
        has_neighbour: false,
        session_sleeps: false,
    },
    // rten is what a host has built in, and what `auto` takes for this model.
    Sleeper { name: "wake_model", backend: "rten", has_neighbour: true, session_sleeps: true },
    Sleeper {
        name: "wake_model_onnxruntime",
        backend: "onnxruntime",
        has_neighbour: true,
        session_sleeps: true,
    },
];

/// Measures each kind of wake.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    for sleeper in &SLEEPERS {
        // Functions of one tenant share a model's session, so one that never sleeps would keep
        // those of the others awake.
        let host = host::start()?;
        eprintln!("{}: {} samples", sleeper.name, effort.samples);
        let samples = sleeper.sample(&host, effort.samples)?;
        let name = sleeper.name;
        for (part, times) in [("", &samples.client_us), ("_host", &samples.host_us)] {
            let of = |share| percentile(times, share).context("there are no samples");
            report.add(format!("{name}{part}_p50_us"), of(0.5)?);
            report.add(format!("{name}{part}_p99_us"), of(0.99)?);
        }
    }
    Ok(())
}

/// Times of one function's wakes.
#[derive(Default)]
struct Samples {
    /// From the request to the whole answer, as the client sees it.
    client_us: Vec<f64>,
    /// What the host itself says that waking took.
    host_us: Vec<f64>,
}

impl Sleeper {
    fn sample(&self, host: &Server, count: usize) -> anyhow::Result<Samples> {
        let function = self.name.replace('_', "-");
        let session = if self.session_sleeps { AT_ONCE } else { NEVER };
        let settings = [
            format!("models.digits.backend={}", self.backend),
            format!("scale.handler_idle_timeout_ms={AT_ONCE}"),
            format!("scale.instance_idle_timeout_ms={AT_ONCE}"),
            format!("scale.session_idle_timeout_ms={session}"),
        ];
        let path =
            host::deploy(host, "examples/digits", &function, &settings.each_ref().map(String::as_str))?;
        let url = format!("{}{path}", host.origin());
        verify::all(&url)?;
        let cases = verify::cases()?;
        let mut client = Client::new();
        let state_url = format!("{}/api/v1/functions/{function}/state", host.origin());
        let neighbour = if self.has_neighbour { Some(Neighbour::deploy(host)?) } else { None };
        let mut samples = Samples::default();
        for case in cases.iter().cycle().take(count) {
            let body = case.body();
            self.wait_until_cold(&mut client, &state_url)?;
            if let Some(neighbour) = &neighbour {
                neighbour.call(&mut client)?;
            }
            let answer = client.post(&url, &body)?;
            case.check(&answer.value)?;
            let wake = answer.wake.context("the host does not say that the function woke")?;
            samples.client_us.push(us(answer.took));
            samples.host_us.push(us(wake));
        }
        Ok(samples)
    }

    fn wait_until_cold(&self, client: &mut Client, state_url: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            check_interrupted()?;
            let state = client.get(state_url)?;
            if self.is_cold(&state["revisions"][0]) {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                bail!("the function did not go cold within {} s: {state}", PATIENCE.as_secs());
            }
            thread::sleep(INTERVAL);
        }
    }

    /// Whether exactly those layers are cold that this kind wakes.
    fn is_cold(&self, revision: &Value) -> bool {
        let instances = &revision["instances"];
        let session = if self.session_sleeps { "cold" } else { "ready" };
        revision["code"] == "cold"
            && revision["handler"] == "cold"
            && instances["running"] == 0
            && instances["waiting"] == 0
            && revision["sessions"][0]["state"] == session
    }
}

/// Another function of the host, which never sleeps.
struct Neighbour {
    url: String,
    request: Vec<u8>,
}

impl Neighbour {
    fn deploy(host: &Server) -> anyhow::Result<Self> {
        let path = host::deploy(host, NEIGHBOUR, "neighbour", &["models.magika.backend=onnxruntime"])?;
        let request = workspace::root().join(NEIGHBOUR_REQUEST);
        let request = fs::read(&request).with_context(|| format!("cannot read `{}`", request.display()))?;
        Ok(Self { url: format!("{}{path}", host.origin()), request })
    }

    fn call(&self, client: &mut Client) -> anyhow::Result<()> {
        for _ in 0..NEIGHBOUR_CALLS {
            client.post(&self.url, &self.request)?;
        }
        Ok(())
    }
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_layer_has_to_be_as_the_kind_asks() {
        let revision = |code: &str, running: u32, session: &str| {
            json!({
                "code": code, "handler": "cold", "instances": { "running": running, "waiting": 0 },
                "sessions": [{ "state": session }],
            })
        };
        let [handler, _, model, _] = &SLEEPERS;
        assert!(handler.is_cold(&revision("cold", 0, "ready")));
        assert!(model.is_cold(&revision("cold", 0, "cold")));
        assert!(!handler.is_cold(&revision("cold", 0, "cold")));
        assert!(!model.is_cold(&revision("cold", 0, "ready")));
        assert!(!handler.is_cold(&revision("resident", 0, "ready")));
        assert!(!handler.is_cold(&revision("cold", 1, "ready")));
        assert!(!handler.is_cold(&json!(null)));
    }
}
