//! A function whose requests are always in flight, to see whether somebody else's attack harms them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Api, TestHost, digits, until};

/// Requests at one time.
const CALLERS: usize = 4;

/// A neighbour under load.
pub struct Neighbour {
    right: Arc<AtomicU64>,
    stop: CancellationToken,
    callers: JoinSet<Result<(), String>>,
}

impl Neighbour {
    /// Deploys the digits example as `neighbour` and calls it without pause.
    pub async fn move_in(host: &TestHost) -> Self {
        host.deploy_digits("neighbour", &json!({})).await;
        let mut neighbour =
            Self { right: Arc::default(), stop: CancellationToken::new(), callers: JoinSet::new() };
        for caller in 0..CALLERS {
            let calls = call((**host).clone(), caller, neighbour.right.clone(), neighbour.stop.clone());
            neighbour.callers.spawn(calls);
        }
        neighbour.goes_on().await;
        neighbour
    }

    /// Waits until every caller can have had another right answer.
    pub async fn goes_on(&self) {
        let wanted = self.right.load(Relaxed) + 2 * CALLERS as u64;
        until("right answers of the neighbour", async || (self.right.load(Relaxed) >= wanted).then_some(()))
            .await;
    }

    /// Right answers so far.
    pub fn answers(&self) -> u64 {
        self.right.load(Relaxed)
    }

    /// Ends the calls. Every answer since moving in must have been right.
    pub async fn end_unharmed(mut self) {
        self.goes_on().await;
        self.stop.cancel();
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("a caller does not panic").expect("every answer is right");
        }
    }
}

async fn call(api: Api, caller: usize, right: Arc<AtomicU64>, stop: CancellationToken) -> Result<(), String> {
    let cases = digits();
    for case in cases.iter().cycle().skip(caller) {
        if stop.is_cancelled() {
            break;
        }
        let answer = api.call("neighbour", "/", case.request()).await;
        if let Some(mistake) = case.mistake(&answer) {
            return Err(mistake);
        }
        right.fetch_add(1, Relaxed);
    }
    Ok(())
}
