//! Measures what waking a handler is made of: mapping its compiled code, linking it, dropping both.
//!
//! `cargo run --release -p modelet-engine --example wake_time -- COMPONENT [PAUSE_MS]`. A pause
//! before each round shows what it costs when caches and processor have gone cold as well.

use std::time::{Duration, Instant};

use modelet_engine::{Engine, EngineConfig};
use modelet_types::Digest;
use modelet_types::manifest::Reuse;

const ROUNDS: usize = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().ok_or("usage: wake_time COMPONENT [PAUSE_MS]")?;
    let pause = Duration::from_millis(arguments.next().map_or(Ok(0), |pause| pause.parse())?);
    let wasm = std::fs::read(component)?;
    let digest = Digest::of(&wasm);
    let folder = std::env::temp_dir().join(format!("modelet-wake-time-{}", std::process::id()));
    let engine = Engine::start(&EngineConfig::new(folder.clone()))?;
    let compiled = engine.compile(&wasm)?;
    engine.code().insert(&digest, &compiled)?;
    println!("{} bytes of compiled code", compiled.code.len());

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
