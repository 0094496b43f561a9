//! Putting waiting runs of a session together into one, and taking its outputs apart again.
//!
//! Work-conserving, as Triton's dynamic batching with no delay: a worker that is free takes what waits and
//! fits together, and nobody is kept waiting for company unless the manifest says so. Rows go together
//! along the first dimension.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use modelet_types::manifest::{Batching, Priority};
use modelet_types::{Code, Problem, Signature, Tensor};

use crate::backend::BackendRun;
use crate::session::QueuedRun;
use crate::session::plan::Plan;
use crate::{Control, InferenceError};

/// Bytes of filled up inputs that are always allowed.
const FILLED_BYTES: u128 = 4 << 10;

/// Where a run stands in the queue.
#[derive(Clone, Copy)]
pub struct Place {
    /// Among which it stands.
    pub priority: Priority,
    due: Due,
}

/// What is due first comes first, then what came first.
type Due = (Instant, u64);

/// The runs of one session that wait, by priority.
#[derive(Default)]
pub struct Queue(Mutex<Runs>);

#[derive(Default)]
struct Runs {
    levels: [BTreeMap<Due, QueuedRun>; Priority::ALL.len()],
    rows: u64,
    next: u64,
}

impl Queue {
    /// Adds a run. Says where it stands, and how many rows wait now.
    ///
    /// # Errors
    /// `Overloaded` if `most` of its priority wait already.
    pub fn push(
        &self,
        run: QueuedRun,
        priority: Priority,
        most: usize,
    ) -> Result<(Place, u64), InferenceError> {
        let mut waiting = self.lock();
        let count = waiting.levels[priority as usize].len();
        if count >= most {
            return Err(InferenceError::Overloaded { waiting: count });
        }
        let due = (run.control.deadline(), waiting.next);
        waiting.next += 1;
        waiting.rows += u64::from(run.rows);
        waiting.levels[priority as usize].insert(due, run);
        Ok((Place { priority, due }, waiting.rows))
    }

    /// Takes a run out, if it is there still.
    pub fn remove(&self, place: Place) -> Option<QueuedRun> {
        self.lock().remove(place)
    }

    /// Whether a run waits still.
    pub fn contains(&self, place: Place) -> bool {
        self.lock().levels[place.priority as usize].contains_key(&place.due)
    }

    /// Takes the first run of a priority, and with it those that fit together with it, as many as there may
    /// be. Those of a lower priority are left: they would make it longer.
    pub fn take(&self, priority: Priority, rule: Option<&Rule>) -> Vec<QueuedRun> {
        let mut waiting = self.lock();
        let due = waiting.levels[priority as usize].first_key_value().map(|(due, _)| *due);
        let first = due.and_then(|due| waiting.remove(Place { priority, due }));
        let Some(first) = first else { return Vec::new() };
        let Some(rule) = rule else { return vec![first] };
        let mut size = rule.size_of(&first.plan, first.rows);
        let mut places = Vec::new();
        let company = Priority::ALL.into_iter().filter(|other| *other <= priority);
        for (priority, (due, run)) in
            company.flat_map(|other| waiting.levels[other as usize].iter().map(move |run| (other, run)))
        {
            if size.rows >= rule.max_rows {
                break;
            }
            if rule.fits(&first.plan, &run.plan)
                && let Some(larger) = rule.with(&size, &run.plan, run.rows)
            {
                size = larger;
                places.push(Place { priority, due: *due });
            }
        }
        std::iter::once(first).chain(places.into_iter().filter_map(|place| waiting.remove(place))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    fn remove(&mut self, place: Place) -> Option<QueuedRun> {
        let run = self.levels[place.priority as usize].remove(&place.due)?;
        self.rows -= u64::from(run.rows);
        Some(run)
    }
}

/// What goes together, for one model.
#[derive(Debug)]
pub struct Rule {
    max_rows: u32,
    /// How long a run waits for others.
    pub delay: Duration,
    /// For each input, what fills it up where it is shorter than others.
    pad: Vec<Option<i64>>,
}

impl Rule {
    /// The rule that a manifest states.
    ///
    /// # Errors
    /// `InvalidManifest` at an entry of `field`, the path of `batching`, if the model does not allow it.
    pub fn new(batching: &Batching, signature: &Signature, field: &str) -> Result<Self, Problem> {
        let invalid = |at: String, detail: String| Problem::new(Code::InvalidManifest, detail).at(at);
        let of_model = |detail: String| invalid(field.to_owned(), detail);
        let Signature { inputs, outputs } = signature;
        if inputs.is_empty() {
            return Err(of_model("the model has no inputs, so there is nothing to put together".into()));
        }
        for (side, info) in
            inputs.iter().map(|info| ("input", info)).chain(outputs.iter().map(|info| ("output", info)))
        {
            if info.shape.first() != Some(&None) {
                let detail = format!(
                    "{side} `{}` does not leave its first dimension open, along which requests are put together",
                    info.name
                );
                return Err(of_model(detail));
            }
        }
        for (name, value) in &batching.pad {
            let at = |detail: String| invalid(format!("{field}.pad.{name}"), detail);
            let info = inputs.iter().find(|info| info.name == *name);
            let info = info.ok_or_else(|| at(format!("the model has no input `{name}`")))?;
            if info.shape.get(1) != Some(&None) {
                return Err(at("the input does not leave its second dimension open".into()));
            }
            if info.element_type.le_bytes(*value).is_none() {
                return Err(at(format!("{value} is no element of type {}", info.element_type)));
            }
        }
        let open = outputs.iter().find(|info| info.shape[1..].contains(&None));
        if let (false, Some(output)) = (batching.pad.is_empty(), open) {
            let detail = format!(
                "output `{}` leaves more than its first dimension open, so what filling up adds to it could \
                 not be told from the answer",
                output.name
            );
            return Err(invalid(format!("{field}.pad"), detail));
        }
        Ok(Self {
            max_rows: batching.max_batch_size,
            delay: batching.max_queue_delay(),
            pad: inputs.iter().map(|info| batching.pad.get(&info.name).copied()).collect(),
        })
    }

    /// Whether anything goes together at all.
    pub fn is_used(&self) -> bool {
        self.max_rows > 1
    }

    /// Whether an input is filled up.
    pub fn is_padded(&self, input: usize) -> bool {
        self.pad[input].is_some()
    }

    /// Whether as many rows are there as one run takes.
    pub fn is_full(&self, rows: u64) -> bool {
        rows >= u64::from(self.max_rows)
    }

    /// Whether two runs can be one.
    pub fn fits(&self, one: &Plan, other: &Plan) -> bool {
        let inputs = one.inputs.iter().zip(&other.inputs).zip(&self.pad);
        let same = |((one, other), pad): ((&Tensor, &Tensor), &Option<i64>)| {
            let open = if pad.is_some() { 2 } else { 1 };
            one.shape().get(open..) == other.shape().get(open..)
        };
        one.outputs == other.outputs && inputs.into_iter().all(same)
    }

    /// How large a run is.
    pub fn size_of(&self, plan: &Plan, rows: u32) -> Size {
        let padded = plan.inputs.iter().zip(&self.pad).filter(|(_, pad)| pad.is_some());
        let widths = padded.map(|(input, _)| input.shape()[1]).collect();
        Size { rows, bytes: bytes_of(plan), widths }
    }

    /// The size with one more run; `None` if that is too large. What is filled up may be twice what was
    /// there, or as little as nobody minds: one long text does not make all short ones as long.
    pub fn with(&self, size: &Size, plan: &Plan, rows: u32) -> Option<Size> {
        let rows = size.rows.saturating_add(rows);
        if rows > self.max_rows {
            return None;
        }
        let bytes = size.bytes + bytes_of(plan);
        let mut widths = size.widths.clone();
        let padded = plan.inputs.iter().zip(&self.pad).filter(|(_, pad)| pad.is_some());
        let mut filled: u128 = 0;
        for ((input, _), width) in padded.zip(&mut widths) {
            *width = (*width).max(input.shape()[1]);
            let element = input.element_type().size_bytes().unwrap_or_default();
            let rest: u128 = input.shape()[2..].iter().map(|&dim| dim as u128).product();
            filled += u128::from(rows) * *width as u128 * rest * element as u128;
        }
        (filled <= FILLED_BYTES.max(2 * bytes as u128)).then_some(Size { rows, bytes, widths })
    }

    /// One run for several, which fit together; `None` if they do not.
    pub fn concat(&self, plans: &[&Plan]) -> Option<Plan> {
        let first = plans.first()?;
        let input = |(index, pad): (usize, &Option<i64>)| {
            let tensors: Vec<&Tensor> = plans.iter().map(|plan| &plan.inputs[index]).collect();
            Tensor::concat(&tensors, *pad)
        };
        let inputs = self.pad.iter().enumerate().map(input).collect::<Option<_>>()?;
        Some(Plan { inputs, outputs: first.outputs.clone() })
    }
}

/// How large several runs are together.
pub struct Size {
    rows: u32,
    /// Of their inputs, not filled up.
    bytes: usize,
    /// The longest second dimension of each input that is filled up.
    widths: Vec<usize>,
}

/// Bytes of a run's inputs.
pub fn bytes_of(plan: &Plan) -> usize {
    plan.inputs.iter().map(Tensor::byte_len).sum()
}

/// The rows of a run: the first dimension of its inputs, if they have one and the same and it is not 0.
pub fn rows(plan: &Plan) -> Option<u32> {
    let mut rows = plan.inputs.iter().map(|input| input.shape().first().copied());
    let first = rows.next()??;
    let rows = rows.all(|rows| rows == Some(first)).then_some(first)?;
    u32::try_from(rows).ok().filter(|rows| *rows > 0)
}

/// What one of several pays of a run: as the bytes of its inputs are to those of all, before they were
/// filled up.
#[derive(Clone, Copy)]
pub struct Share {
    /// Its own.
    pub of: usize,
    /// All together.
    pub in_all: usize,
}

impl Share {
    /// Its part of a time.
    fn part(self, time: Duration) -> Duration {
        time.mul_f64(self.of as f64 / self.in_all.max(1) as f64)
    }
}

/// The part of a run's outputs that belongs to some of its rows, with their share of its CPU time.
///
/// # Errors
/// If an output has not one row for each of the inputs'.
pub fn part(run: &BackendRun, range: Range<u32>, all: u32, share: Share) -> Result<BackendRun, String> {
    let range = range.start as usize..range.end as usize;
    let outputs = run
        .outputs
        .iter()
        .map(|output| output.rows(range.clone()).filter(|_| output.shape().first() == Some(&(all as usize))))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| format!("of {all} rows the model made another number"))?;
    Ok(BackendRun { outputs, cpu_time: share.part(run.cpu_time) })
}

/// Runs `work` under a control that stops it once everybody has stopped who waits for it. Each is charged its
/// share of what that uses.
pub fn together<T>(
    controls: &[&Control],
    shares: &[Share],
    work: impl FnOnce(&Control) -> Result<T, InferenceError>,
) -> Result<T, InferenceError> {
    let latest = controls.iter().map(|control| control.deadline()).max();
    let bytes = controls.iter().fold(0, |sum: u64, control| sum.saturating_add(control.max_output_bytes()));
    let shared = Control::new(latest.unwrap_or_else(Instant::now)).with_max_output_bytes(bytes);
    let shared = Arc::new(shared);
    let left = Arc::new(AtomicUsize::new(controls.len()));
    let leave = |shared: &Control, left: &AtomicUsize| {
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.cancel();
        }
    };
    let guards = controls.iter().map(|control| {
        let (of_hook, all, has_left) = (Arc::clone(&shared), Arc::clone(&left), AtomicBool::new(false));
        let hook = move || {
            // It may be called more than once.
            if !has_left.swap(true, Ordering::AcqRel) {
                leave(&of_hook, &all);
            }
        };
        control.on_stop(Arc::new(hook)).inspect_err(|_| leave(&shared, &left)).ok()
    });
    let _guards: Vec<_> = guards.collect();
    let charges = controls.iter().zip(shares).map(|(control, share)| {
        let (all, share) = (Arc::clone(&shared), *share);
        control.cost().measure(move || share.part(all.cost().so_far()))
    });
    let _charges: Vec<_> = charges.collect();
    work(&shared)
}
