//! The fuzz targets without a fuzzer: each over its seeds, over its kept corpus and over
//! random mutations of both, in every `cargo test`.
//!
//! `P2PFS_FUZZ_RUNS=N` sets the number of mutations for each target, `P2PFS_FUZZ_SEED=N`
//! the seed. A failing input is shown as hex, and run again alone by
//! `P2PFS_FUZZ_INPUT=HEX cargo test --test fuzz TARGET`. With `P2PFS_FUZZ_WRITE=FOLDER` the
//! inputs are written to FOLDER/TARGET and not run. `tests/fuzz/run` runs the same functions
//! under libFuzzer, which finds its way by coverage; its finds become files of the corpus,
//! `tests/fuzz/corpus/TARGET/`.

mod mutator;
mod seeds;
mod targets;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use kit::messages::hex;
use kit::quantity;

use self::mutator::Mutator;
use self::targets::{TARGETS, Target};

/// Mutations for each target in a plain `cargo test`: some seconds for all in a debug build.
const RUNS: u64 = 20_000;

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).expect("a hexadecimal digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The kept inputs of a target, by name, in order. Its seeds may be enough.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name);
    let entries = fs::read_dir(&folder).into_iter().flatten();
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// Runs one input; if it fails, says how to run it again.
fn run(target: &Target, origin: &str, input: &[u8]) {
    if let Some(folder) = std::env::var_os("P2PFS_FUZZ_WRITE") {
        let folder = Path::new(&folder).join(target.name);
        fs::create_dir_all(&folder).unwrap();
        return fs::write(folder.join(origin.replace(' ', "-")), input).unwrap();
    }
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let (name, input) = (target.name, hex(input));
        eprintln!(
            "{name} fails with {origin}: P2PFS_FUZZ_INPUT={input} cargo test --test fuzz {name}"
        );
        panic::resume_unwind(panic);
    }
}

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    if let Ok(input) = std::env::var("P2PFS_FUZZ_INPUT") {
        return (target.run)(&from_hex(&input));
    }
    let seeds = seeds::seeds(name).into_iter().enumerate();
    let seeds = seeds.map(|(count, input)| (format!("seed {count}"), input));
    let inputs: Vec<_> = seeds.chain(corpus(target)).collect();
    for (file, input) in &inputs {
        run(target, file, input);
    }
    let seed = quantity("P2PFS_FUZZ_SEED", 1);
    let mut mutator = Mutator::new(seed, inputs.into_iter().map(|(_, input)| input).collect());
    for count in 0..quantity("P2PFS_FUZZ_RUNS", RUNS) {
        let input = mutator.next_input();
        run(target, &format!("mutation {count} of seed {seed}"), &input);
    }
}

macro_rules! tests {
    ($($target:ident)*) => {
        $(#[test] fn $target() { fuzz(stringify!($target)); })*

        #[test]
        fn every_target_is_run() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($target)),*]);
        }
    };
}

tests! {
    beacon control datagram deframer download file_name peer_node registration registry_node
    sealed session shown upload
}
