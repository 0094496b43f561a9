//! rten: pure Rust, built in, loads fastest.
//!
//! It has four element types. Declared i64 and booleans are i32 inside: values are checked when
//! they are narrowed, and outputs are widened back. Declared f16 is f32 inside, which is more exact. f64
//! becomes f32 only where the manifest names this backend, since that loses precision silently. A run
//! cannot be stopped midway.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use modelet_types::{ElementType, Signature, Tensor, TensorInfo};
use rten::{NodeId, RunOptions, ThreadPool, Value, ValueOrView, ValueType};

use super::{Backend, BackendId, BackendRun, BackendSession, BackendStatus, LoadRequest};
use crate::cpu_time::{self, SharedMeter};
use crate::{Control, InferenceError};

mod mapped;
mod values;

use mapped::MappedModel;

/// The longest chain of operators. rten orders operators by recursion from each to those it needs, which
/// was measured to take 330 bytes of stack for each; its threads have 2 MiB, and it takes no wish for
/// another size. So this is a third of what they can do, and several times what deep models need.
const MAX_CHAIN: usize = 2_000;

/// The longest sum or product. rten writes them out when it looks for patterns, and those that double
/// at each step would never end.
const MAX_SUM: usize = 1 << 16;

/// The version of the crate that is linked.
const VERSION: &str = "0.27";

thread_local! {
    /// A pool of one thread for the runs of this thread: the thread itself, where `surround` was
    /// called. Measured, one pool per caller scales with the cores, and a shared one does not.
    static OWN_POOL: OnceCell<Arc<ThreadPool>> = const { OnceCell::new() };
}

/// Runs `work` on the one thread of a pool, where runs begin without a change of threads.
pub(crate) fn surround(work: &mut (dyn FnMut() + Send)) {
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    pool.run(|| {
        OWN_POOL.with(|own| _ = own.set(Arc::clone(&pool)));
        work();
    });
}

/// The backend.
#[derive(Default)]
pub(crate) struct Rten {
    /// The pools that sessions of several threads run on, by the number of threads.
    pools: Mutex<BTreeMap<usize, Weak<SharedPool>>>,
}

impl Rten {
    /// The pool of that many threads: one for all sessions, since each of its own would be as many
    /// threads as all models of all revisions together ask for.
    fn pool(&self, threads: usize) -> Arc<SharedPool> {
        // Whatever happened to a thread that held the lock, the map is whole.
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&threads).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = Arc::new(SharedPool::new(threads));
        pools.insert(threads, Arc::downgrade(&pool));
        pool
    }
}

impl Backend for Rten {
    fn status(&self) -> BackendStatus {
        BackendStatus { backend: BackendId::Rten, version: Some(VERSION.into()), unavailable: None }
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Box<dyn BackendSession>, InferenceError> {
        let Signature { inputs, outputs } = &request.facts.signature;
        let (chain, sum) = (request.facts.longest_chain, request.facts.longest_sum);
        if chain > MAX_CHAIN {
            return Err(invalid(format!(
                "a chain of {chain} operators is too long for rten, which takes at most {MAX_CHAIN}"
            )));
        }
        if sum > MAX_SUM {
            return Err(invalid(format!(
                "a sum or product of {sum} parts is too long for rten, which takes at most {MAX_SUM}"
            )));
        }
        let sides = [("input", inputs), ("output", outputs)];
        for (side, info) in sides.into_iter().flat_map(|(side, infos)| infos.iter().map(move |i| (side, i))) {
            if values::kept_as(info.element_type, request.may_narrow).is_none() {
                let TensorInfo { name, element_type, .. } = info;
                let how = if *element_type == ElementType::F64 { " without a loss of precision" } else { "" };
                return Err(invalid(format!(
                    "{side} `{name}` has elements of type {element_type}, which rten does not support{how} \
                     (onnxruntime does)"
                )));
            }
        }
        let model = MappedModel::load(request.file)
            .map_err(|e| invalid(format!("rten cannot load the model: {e}")))?;
        let nodes = |infos: &[TensorInfo]| -> Result<Vec<NodeId>, InferenceError> {
            infos
                .iter()
                .map(|info| {
                    model
                        .find_node(&info.name)
                        .ok_or_else(|| invalid(format!("rten finds no value called `{}`", info.name)))
                })
                .collect()
        };
        let (input_nodes, output_nodes) = (nodes(inputs)?, nodes(outputs)?);
        for (info, &node) in inputs.iter().zip(&input_nodes) {
            let wanted = values::kept_as(info.element_type, true);
            match model.node_info(node).and_then(|node| node.dtype()) {
                Some(ValueType::Tensor(found)) if Some(found) != wanted => {
                    return Err(invalid(format!(
                        "rten reads input `{}` as {found}, but it is declared as {}",
                        info.name, info.element_type
                    )));
                }
                _ => {}
            }
        }
        Ok(Box::new(RtenSession {
            model,
            input_nodes,
            output_nodes,
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            shared: (request.threads > 1).then(|| self.pool(request.threads)),
        }))
    }
}

fn invalid(message: String) -> InferenceError {
    InferenceError::InvalidModel(message)
}

fn failed(reason: impl ToString) -> InferenceError {
    InferenceError::Backend { backend: BackendId::Rten, reason: reason.to_string() }
}

/// Several threads for each run, which runs that overlap share.
struct SharedPool {
    pool: Arc<ThreadPool>,
    meter: Arc<SharedMeter>,
}

impl SharedPool {
    fn new(threads: usize) -> Self {
        let (pool, meter) = (Arc::new(ThreadPool::with_num_threads(threads)), Arc::<SharedMeter>::default());
        pool.run(|| rayon::broadcast(|_| meter.add_this_thread()));
        Self { pool, meter }
    }
}

struct RtenSession {
    model: MappedModel,
    input_nodes: Vec<NodeId>,
    output_nodes: Vec<NodeId>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    shared: Option<Arc<SharedPool>>,
}

impl BackendSession for RtenSession {
    fn run(
        &self,
        inputs: &[Tensor],
        outputs: &[usize],
        control: &Control,
    ) -> Result<BackendRun, InferenceError> {
        control.check()?;
        let values = inputs
            .iter()
            .zip(&self.inputs)
            .zip(&self.input_nodes)
            .map(|((tensor, info), &node)| Ok((node, values::to_rten(tensor, info)?)))
            .collect::<Result<Vec<_>, InferenceError>>()?;
        let nodes: Vec<NodeId> = outputs.iter().map(|&output| self.output_nodes[output]).collect();
        let (ran, cpu_time) = match &self.shared {
            None => {
                let pool = OWN_POOL
                    .with(|own| Arc::clone(own.get_or_init(|| Arc::new(ThreadPool::with_num_threads(1)))));
                pool.run(|| {
                    let begin = cpu_time::of_this_thread();
                    let measured = control.cost().measure(cpu_time::since(begin));
                    let ran = self.run_in(&pool, values, &nodes);
                    let used = cpu_time::of_this_thread() - begin;
                    measured.end(used);
                    (ran, used)
                })
            }
            Some(shared) => {
                let charge = shared.meter.begin();
                let _measured = control.cost().measure(charge.reader());
                let ran = self.run_in(&shared.pool, values, &nodes);
                (ran, charge.so_far())
            }
        };
        let outputs = ran?
            .into_iter()
            .zip(outputs)
            .map(|(value, &output)| values::from_rten(value, &self.outputs[output]))
            .collect::<Result<_, _>>()?;
        Ok(BackendRun { outputs, cpu_time })
    }

    /// rten runs on threads of a rayon pool. Changing to one from a caller's thread and back was
    /// measured to take longer than a place in the queue of workers that are such threads.
    fn runs_on_caller(&self) -> bool {
        false
    }

    fn keeps_file(&self) -> bool {
        true
    }
}

impl RtenSession {
    fn run_in(
        &self,
        pool: &Arc<ThreadPool>,
        inputs: Vec<(NodeId, ValueOrView<'_>)>,
        outputs: &[NodeId],
    ) -> Result<Vec<Value>, InferenceError> {
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
        self.model.run(inputs, outputs, Some(options)).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_that_of_the_lock_file() {
        let lock = include_str!("../../../../Cargo.lock");
        let (_, after) = lock.split_once("name = \"rten\"\nversion = \"").unwrap();
        let (version, _) = after.split_once('"').unwrap();
        let (minor, _patch) = version.rsplit_once('.').unwrap();
        assert_eq!(VERSION, minor);
    }

    #[test]
    fn sessions_share_a_pool_for_each_number_of_threads() {
        let rten = Rten::default();
        let (two, again, three) = (rten.pool(2), rten.pool(2), rten.pool(3));
        assert!(Arc::ptr_eq(&two, &again) && !Arc::ptr_eq(&two, &three));
        let gone = Arc::downgrade(&two);
        drop((two, again));
        assert!(gone.upgrade().is_none(), "its threads end with the last session");
        assert_eq!(rten.pool(2).pool.run(rayon::current_num_threads), 2);
    }
}
