//! The fuzz targets of `tests/fuzz` under libFuzzer. `P2PFS_FUZZ_TARGET` names the one to run.

#![no_main]

use std::sync::LazyLock;

#[path = "../targets/mod.rs"]
mod targets;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("P2PFS_FUZZ_TARGET").expect("P2PFS_FUZZ_TARGET is set");
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    target.expect("a target of this name").run
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| RUN(data));
