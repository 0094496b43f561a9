//! What tests stand on: hosts, a client of their HTTP interface, guests, a neighbour.

mod answer;
mod api;
mod artifact;
mod authority;
mod client;
mod collector;
mod digits;
mod host;
mod neighbour;
mod process;
mod raw;
mod wat;

pub use answer::Answer;
pub use api::{Api, trusting};
pub use artifact::{
    digits_handler, digits_model, example, example_component, foreign_guest, guest, repository, target_dir,
};
pub use authority::self_signed;
pub use client::run_client;
pub use collector::{Behaviour, Collected, Collector};
pub use digits::{Digit, digits};
pub use host::TestHost;
pub use neighbour::Neighbour;
pub use process::HostProcess;
pub use raw::RawCaller;
pub use wat::{blocking_handler, noop_handler};

use std::time::Duration;

/// The longest that anything is waited for. Two slow cores run the whole suite at once.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks until the answer is there.
///
/// # Panics
/// With `what` if it is not there in time.
pub async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_or_late(ask).await.unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Asks until the answer is there, or the deadline has passed.
async fn until_or_late<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.ok()
}
