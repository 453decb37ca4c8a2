//! libFuzzer's way into [`forebay_fuzz::policy`].
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_fuzz::policy(bytes));
