//! libFuzzer's way into [`forebay_fuzz::table`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_fuzz::table(bytes));
