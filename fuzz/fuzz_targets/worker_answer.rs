#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| modelet_inference::fuzzing::worker_answer(data));
