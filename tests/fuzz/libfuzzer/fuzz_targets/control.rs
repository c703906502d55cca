#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| p2pfs_fuzz::run("control", data));
