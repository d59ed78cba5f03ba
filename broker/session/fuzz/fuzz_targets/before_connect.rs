#![no_main]

#[path = "../drive/mod.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|input: &[u8]| drive::run("before_connect", input));
