//! Attacks on CPU, stack, time and memory.

use std::hint::black_box;
use std::time::Duration;

pub(crate) async fn endless_loop() -> String {
    spin()
}

/// In a function of its own, so that the backtrace in the log has its name.
#[inline(never)]
pub(crate) fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = black_box(number.wrapping_add(1));
    }
}

pub(crate) async fn endless_recursion() -> String {
    deeper(1).to_string()
}

#[expect(unconditional_recursion, reason = "is the attack")]
fn deeper(depth: u64) -> u64 {
    // Work after the call, so that it cannot become a loop.
    black_box(deeper(black_box(depth + 1))) + depth
}

/// Waits in the host, where no CPU time passes.
pub(crate) async fn sleep_for_ever() -> String {
    std::thread::sleep(Duration::from_secs(24 * 3600));
    "awake".into()
}

/// Waits for what nobody will ever do.
pub(crate) async fn await_nothing() -> String {
    std::future::pending().await
}

pub(crate) async fn take_all_memory() -> String {
    take_memory()
}

#[inline(never)]
fn take_memory() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}
