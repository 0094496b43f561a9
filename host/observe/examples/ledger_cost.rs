//! What a usage record costs: run with `--release`; prints one line for each mode and number of
//! callers. An optional argument names the folder to write to, so that a device can be chosen.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_observe::{Durability, Ledger, LedgerConfig, Outcome, UsageRecord};
use modelet_types::{InvocationId, RevisionNumber};
use rustix::time::{ClockId, clock_gettime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let cases = [
        (Durability::Process, 1, 500_000),
        (Durability::Process, 8, 500_000),
        (Durability::Process, 64, 500_000),
        (Durability::Disk, 1, 200),
        (Durability::Disk, 64, 10_000),
    ];
    for (durability, callers, records) in cases {
        let dir = base.join(format!("ledger-cost-{}", std::process::id()));
        measure(&dir, durability, callers, records)?;
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

fn measure(
    dir: &std::path::Path,
    durability: Durability,
    callers: usize,
    records: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::open(dir, LedgerConfig { durability, ..LedgerConfig::default() })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let sample = sample()?;
    let (started, cpu) = (Instant::now(), process_cpu());
    runtime.block_on(async {
        let append = |ledger: Arc<Ledger>, mut record: UsageRecord| async move {
            for _ in 0..records / callers {
                record.invocation = InvocationId::generate();
                ledger.append(&record).await?;
            }
            Ok::<(), modelet_observe::Error>(())
        };
        let tasks: Vec<_> =
            (0..callers).map(|_| tokio::spawn(append(Arc::clone(&ledger), sample.clone()))).collect();
        for task in tasks {
            task.await??;
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    let (wall, cpu) = (started.elapsed(), process_cpu() - cpu);
    let stats = ledger.stats();
    let per_record = |time: Duration| time.as_secs_f64() * 1e6 / stats.entries as f64;
    println!(
        "{durability:?}, {callers} callers: {:.2} us wall, {:.2} us CPU a record; {:.1} records a write, {} bytes a record",
        per_record(wall),
        per_record(cpu),
        stats.entries as f64 / stats.writes as f64,
        stats.bytes / stats.entries,
    );
    Ok(())
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn sample() -> Result<UsageRecord, Box<dyn std::error::Error>> {
    Ok(UsageRecord {
        invocation: InvocationId::generate(),
        tenant: "acme".parse()?,
        function: "digits".parse()?,
        revision: RevisionNumber(12),
        started_at: jiff::Timestamp::now(),
        wall_time_us: 310,
        queue_time_us: 2,
        wake_time_us: 0,
        cpu_time_us: 41,
        inference_cpu_time_us: 120,
        peak_memory_bytes: 1_310_720,
        request_bytes: 412,
        response_bytes: 96,
        status: 200,
        outcome: Outcome::Ok,
        cold: false,
    })
}
