//! libFuzzer's way into [`forebay_fuzz::usage`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_fuzz::usage(bytes));
