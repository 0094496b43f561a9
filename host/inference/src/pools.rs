//! The threads that run models and load them.
//!
//! Those for tenants that are not trusted are others than those of trusted ones, and no tenant has all of
//! them: what such a tenant asks for can take as long as its limits allow, and only waits for another process.
//! There are more of those threads than runs that begin at once: some may be held by runs that take long.

use std::sync::Arc;

use modelet_types::TenantName;

use crate::backend::rten;
use crate::pool::{Pool, Threads};
use crate::{InferenceConfig, InferenceError};

/// The pools of both.
pub(crate) struct Pools {
    trusted: Pair,
    untrusted: Pair,
}

/// Runs and loads apart, so that a cold start does not wait behind runs, nor a run behind it.
pub(crate) struct Pair {
    pub runs: Arc<Pool>,
    pub loads: Arc<Pool>,
}

impl Pools {
    pub fn start(config: &InferenceConfig) -> Result<Self, InferenceError> {
        let workers = config.workers.max(1);
        let start = |name, threads, capacity, surround| -> Result<Arc<Pool>, InferenceError> {
            Ok(Arc::new(Pool::start(name, threads, capacity, surround)?))
        };
        let all = Threads { all: workers, most_of_one: workers, at_once: workers };
        let shared = Threads { all: (4 * workers).max(8), most_of_one: workers, at_once: workers };
        let (runs, loads) = (config.queue, config.load_queue);
        Ok(Self {
            trusted: Pair {
                runs: start("model", all, runs, rten::surround)?,
                loads: start("model-load", all, loads, rten::surround)?,
            },
            untrusted: Pair {
                runs: start("model-apart", shared, runs, |work| work())?,
                loads: start("load-apart", Threads { at_once: shared.all, ..shared }, loads, |work| work())?,
            },
        })
    }

    pub fn of(&self, is_trusted: bool) -> &Pair {
        if is_trusted { &self.trusted } else { &self.untrusted }
    }

    /// Sets a tenant's part of the threads, as it stands to those of others.
    pub fn set_weight(&self, tenant: &TenantName, weight: u32) {
        for pair in [&self.trusted, &self.untrusted] {
            pair.runs.set_weight(tenant, weight);
            pair.loads.set_weight(tenant, weight);
        }
    }

    /// The jobs that wait and those that run, of both.
    pub fn load(&self, of: fn(&Pair) -> &Arc<Pool>) -> (usize, usize) {
        let [(waiting, busy), (more_waiting, more_busy)] =
            [&self.trusted, &self.untrusted].map(|pair| of(pair).load());
        (waiting + more_waiting, busy + more_busy)
    }
}
