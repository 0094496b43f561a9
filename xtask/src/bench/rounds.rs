//! Rounds of several servers in turn, and what they show of each other.
//!
//! All servers take turns in every round, and the order is reversed in every other one, so that what
//! else the machine does hits them alike. A ratio is the median of the rounds' own ratios.

use anyhow::Context as _;

use super::Effort;
use super::server::Server;
use super::stats::median;
use super::wrk::{self, Round};

/// The rounds of each server, in the servers' order.
pub fn take_turns(
    servers: &[Server],
    connections: usize,
    effort: &Effort,
) -> anyhow::Result<Vec<Vec<Round>>> {
    for server in servers {
        wrk::warm_up(server, connections, effort)?;
    }
    let mut rounds = vec![Vec::new(); servers.len()];
    for round in 0..effort.rounds {
        for turn in 0..servers.len() {
            let server = if round % 2 == 0 { turn } else { servers.len() - 1 - turn };
            rounds[server].push(wrk::round(&servers[server], connections, effort.round)?);
        }
    }
    Ok(rounds)
}

/// The median of a figure.
pub fn median_of(rounds: &[Round], figure: fn(&Round) -> f64) -> anyhow::Result<f64> {
    let values: Vec<f64> = rounds.iter().map(figure).collect();
    median(&values).context("there are no rounds")
}

/// The median of the ratios of two servers' rounds, each with that of the same turn.
pub fn median_ratio(ours: &[Round], theirs: &[Round], figure: fn(&Round) -> f64) -> anyhow::Result<f64> {
    let ratios: Vec<f64> =
        ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
    median(&ratios).context("there are no rounds")
}
