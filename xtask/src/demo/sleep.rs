//! The function falls to zero, layer by layer, and wakes at the next call.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use super::host::DemoHost;
use super::{calls, digits};

/// How often the state is asked for.
const INTERVAL: Duration = Duration::from_millis(50);
/// The longest that falling to zero may take: far more than the timeouts, for a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The layers that cost something, warm or cold.
#[derive(Debug, PartialEq, Eq)]
struct Layers {
    code: String,
    handler: String,
    session: String,
}

impl Layers {
    fn read(state: &Value) -> Self {
        let revision = &state["revisions"][0];
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        Self {
            code: text(&revision["code"]),
            handler: text(&revision["handler"]),
            session: text(&revision["sessions"][0]["state"]),
        }
    }

    fn are_cold(&self) -> bool {
        [&self.code, &self.handler, &self.session].iter().all(|state| *state == "cold")
    }
}

/// Waits until nothing of the function is left but its row, and calls it again. Returns whether
/// the answers after waking were right.
pub fn fall_and_wake(host: &DemoHost) -> anyhow::Result<bool> {
    let idle_since = Instant::now();
    let mut seen = None;
    loop {
        let layers = Layers::read(&calls::state(host)?);
        if seen.as_ref() != Some(&layers) {
            let idle = idle_since.elapsed().as_secs_f64();
            println!(
                "idle {idle:>4.1} s  code {:<8}  handler {:<8}  session {}",
                layers.code, layers.handler, layers.session
            );
        }
        if layers.are_cold() {
            break;
        }
        if idle_since.elapsed() > DEADLINE {
            bail!("the function did not fall to zero within {} s: {layers:?}", DEADLINE.as_secs());
        }
        seen = Some(layers);
        thread::sleep(INTERVAL);
    }

    let cases = digits::cases()?;
    let (first, second) = (&cases[0], &cases[1]);
    let cold = calls::one(host, &first.pixels)?;
    let warm = calls::one(host, &second.pixels)?;
    let Some(wake) = cold.wake else { bail!("the host does not say that the function woke") };
    let us = |time: Duration| time.as_micros();
    println!(
        "\nthe next call woke it in {} µs, and was answered after {} µs in all",
        us(wake),
        us(cold.took)
    );
    println!("the call after that found it awake: {} µs", us(warm.took));
    Ok(cold.value.digit == first.digit && warm.value.digit == second.digit)
}
