//! Measures what waking a handler is made of: mapping its compiled code, linking it, dropping both.
//!
//! `cargo run --release -p modelet-engine --example wake_time -- COMPONENT [PAUSE_MS]`. A pause
//! before each round shows what it costs when caches and processor have gone cold as well.

use std::path::Path;
use std::time::{Duration, Instant};

use modelet_engine::{Engine, EngineConfig};
use modelet_types::Digest;
use modelet_types::manifest::Reuse;

const ROUNDS: usize = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    modelet_engine::compile_worker_if_asked();
    let mut arguments = std::env::args_os().skip(1);
    let component = arguments.next().ok_or("usage: wake_time COMPONENT [PAUSE_MS]")?;
    let pause = arguments.next().map_or(Ok(0), |pause| pause.to_string_lossy().parse())?;
    let pause = Duration::from_millis(pause);
    let component = Path::new(&component);
    let digest = Digest::of_reader(&mut std::fs::File::open(component)?)?;
    let folder = std::env::temp_dir().join(format!("modelet-wake-time-{}", std::process::id()));
    let engine = Engine::start(&EngineConfig::new(folder.clone()))?;
    let began = Instant::now();
    tokio::runtime::Builder::new_current_thread().build()?.block_on(engine.compile(
        &digest,
        component,
        (),
    ))?;
    println!("compiled in {} ms", began.elapsed().as_millis());

    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        std::thread::sleep(pause);
        let began = Instant::now();
        let code = engine.code().load(&digest)?.ok_or("the code is not there")?;
        times[0].push(began.elapsed());
        let began = Instant::now();
        let handler = engine.link(&code, Reuse::default())?;
        times[1].push(began.elapsed());
        let began = Instant::now();
        drop((handler, code));
        times[2].push(began.elapsed());
    }
    for (name, mut times) in ["map", "link", "drop"].into_iter().zip(times) {
        times.sort();
        println!(
            "{name:<4} p50 {:>5} us, p99 {:>5} us",
            times[ROUNDS / 2].as_micros(),
            times[ROUNDS - 1].as_micros()
        );
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
