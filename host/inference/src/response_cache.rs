//! Answers that a session has given, kept for the same inputs.
//!
//! Off unless the manifest asks for it. It goes with its session, and its bytes are a part of the session's
//! memory, so it is bounded by the same budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use modelet_types::manifest::ResponseCache as Settings;
use modelet_types::{Digest, Digester, Tensor};

use crate::session::plan::Plan;

/// Inputs over this are not looked at: to know them again could take longer than half a millisecond.
const MAX_INPUT_BYTES: usize = 256 << 10;
/// What an answer takes beside its tensors.
const OVERHEAD_BYTES: usize = 256;

/// The answers of one session.
pub(crate) struct ResponseCache {
    answers: moka::sync::Cache<Digest, Arc<[Tensor]>>,
    max_bytes: u64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How a cache has done since its session was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Answers that are kept.
    pub answers: u64,
    /// What they take in memory.
    pub bytes: u64,
    /// Requests that were answered from it.
    pub hits: u64,
    /// Requests that were not.
    pub misses: u64,
}

impl ResponseCache {
    pub fn new(settings: &Settings) -> Self {
        let weigh = |_: &Digest, outputs: &Arc<[Tensor]>| {
            let bytes: usize = outputs.iter().map(|output| output.byte_len() + OVERHEAD_BYTES).sum();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let answers = moka::sync::Cache::builder()
            .weigher(weigh)
            .max_capacity(settings.max_bytes)
            .time_to_live(settings.ttl())
            .build();
        let max_bytes = settings.max_bytes;
        Self { answers, max_bytes, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// What tells the request from others; `None` for one that is not kept.
    pub fn key(&self, plan: &Plan) -> Option<Digest> {
        let bytes: usize = plan.inputs.iter().map(Tensor::byte_len).sum();
        (bytes <= MAX_INPUT_BYTES).then(|| key(plan))
    }

    /// The outputs that were kept for a request, in the order in which it wants them.
    pub fn get(&self, key: &Digest) -> Option<Arc<[Tensor]>> {
        let found = self.answers.get(key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub fn keep(&self, key: Digest, outputs: &[Tensor]) {
        let bytes: usize = outputs.iter().map(Tensor::byte_len).sum();
        // One that is large for it would be taken in for a moment, and drive the others out.
        if bytes as u64 <= self.max_bytes / 4 {
            self.answers.insert(key, outputs.into());
        }
    }

    pub fn stats(&self) -> CacheStats {
        // What waits to be counted is counted now.
        self.answers.run_pending_tasks();
        CacheStats {
            answers: self.answers.entry_count(),
            bytes: self.answers.weighted_size(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

/// The lengths are in it, so that no two requests make the same bytes.
fn key(plan: &Plan) -> Digest {
    let mut digester = Digester::default();
    let number = |digester: &mut Digester, number: usize| digester.update(&(number as u64).to_le_bytes());
    number(&mut digester, plan.outputs.len());
    for &output in &plan.outputs {
        number(&mut digester, output);
    }
    // Their element types are the signature's.
    for input in &plan.inputs {
        number(&mut digester, input.shape().len());
        for &dim in input.shape() {
            number(&mut digester, dim);
        }
        match (input.as_bytes(), input.as_texts()) {
            (Some(bytes), _) => digester.update(bytes),
            (None, texts) => {
                for text in texts.unwrap_or_default() {
                    number(&mut digester, text.len());
                    digester.update(text.as_bytes());
                }
            }
        }
    }
    digester.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(shape: &[usize], values: &[f32], outputs: &[usize]) -> Plan {
        let input = Tensor::from_vec(shape, values.to_vec()).unwrap();
        Plan { inputs: vec![input], outputs: outputs.to_vec() }
    }

    #[test]
    fn requests_that_differ_in_anything_are_others() {
        let text = |texts: &[&str]| {
            let texts: Vec<Box<str>> = texts.iter().map(|text| (*text).into()).collect();
            Plan { inputs: vec![Tensor::from_texts(&[texts.len()], texts).unwrap()], outputs: vec![0] }
        };
        let plans = [
            plan(&[2], &[1.0, 2.0], &[0]),
            plan(&[2], &[1.0, 3.0], &[0]),
            plan(&[1, 2], &[1.0, 2.0], &[0]),
            plan(&[2], &[1.0, 2.0], &[1]),
            plan(&[2], &[1.0, 2.0], &[0, 1]),
            plan(&[2], &[1.0, 2.0], &[1, 0]),
            text(&["ab", "c"]),
            text(&["a", "bc"]),
        ];
        let keys: std::collections::HashSet<String> =
            plans.iter().map(|plan| key(plan).to_string()).collect();
        assert_eq!(keys.len(), plans.len());
        assert_eq!(key(&plans[0]), key(&plan(&[2], &[1.0, 2.0], &[0])));
    }
}
