#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| modelet_server::fuzzing::oip_message(data));
