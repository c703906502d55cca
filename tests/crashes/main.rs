//! Nothing is lost and nobody gets in, whatever breaks: the real binary in processes
//! of its own, while processes die, calls fail, disks fill up and power is cut.
//!
//! | module | rows of FAULTS.md | what it does |
//! |---|---|---|
//! | `kills` | 10 | `kill -9` at random moments, on either side |
//! | `system_calls` | 11, 16, 18 | strace makes each call fail, or the moment of a kill |
//! | `power_cuts` | 17 | a real file system loses its power |
//! | `full_disks` | 16 | disks that are full, read-only or limited |
//! | `contents` | 65 | the same to partial files of contents and to trees |
//! | `file_systems` | 43, 50, 51 | file systems that lack things, and that die |
//! | `slow_disks` | | reads that never find anything in memory |
//! | `folders` | 20, 21, 32 | what stands in the folder, or in its place, by surprise |
//! | `trees` | 71, 72 | trees with mounts in them, and with more folders than may be watched |
//! | `other_users` | 54 | another user of the machine made it |
//! | `pauses` | 12 | processes that are stopped and woken |
//! | `endings` | 13, 55 | signals twice, outputs that are closed or take nothing, no home |
//!
//! Elsewhere: row 19 and more of 13, 20 and 32 in `tests/processes`, row 39 in its
//! `command_line`; row 12 with the deadlines of a user in the simulator.
//!
//! `checks` are the five checks that every scenario shares. A plain `cargo test` tries a
//! little of each; more of one by itself:
//!
//! ```text
//! P2PFS_KILLS=1000 cargo test --test crashes kills
//! P2PFS_POWER_CUTS=500 cargo test --test crashes power_cuts
//! P2PFS_CALLS=all cargo test --test crashes system_calls
//! P2PFS_RACES=500 cargo test --test crashes race
//! ```
//!
//! `P2PFS_SEED` repeats the random choices of a run; a failure names its round.
//! A test that lacks root, a tool or a feature of the kernel is skipped, and told at the end.

mod checks;
mod contents;
mod disk;
mod endings;
mod file_systems;
mod folders;
mod full_disks;
mod kills;
mod other_users;
mod pauses;
mod place;
mod power_cuts;
mod rounds;
mod slow_disks;
mod strace;
mod system_calls;
mod trees;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = contents::program() {
        return code;
    }
    let modules = [
        checks::TESTS,
        contents::TESTS,
        endings::TESTS,
        file_systems::TESTS,
        folders::TESTS,
        full_disks::TESTS,
        kills::TESTS,
        other_users::TESTS,
        pauses::TESTS,
        power_cuts::TESTS,
        slow_disks::TESTS,
        system_calls::TESTS,
        trees::TESTS,
    ];
    kit::run(modules.into_iter().flatten(), None)
}
