//! How much is tried, and what has to be there for it.
//!
//! | variable | default | in CI | what it counts |
//! |---|---|---|---|
//! | `P2PFS_FLOOD_PAIRS` | 5 | 5 | transfers beside a flood, and as many beside an idle one |
//! | `P2PFS_FLOOD_MIB` | 128 | 128 | size of the file in these transfers |
//! | `P2PFS_DATAGRAMS_PER_SECOND` | 200,000 | 200,000 | junk |
//! | `P2PFS_CONNECTIONS_PER_SECOND` | 10,000 | 10,000 | made and reset at once |
//! | `P2PFS_OFFERS` | 150,000 | 1,000,000 | made-up offers |
//! | `P2PFS_SILENT` | 2,000 | 19,000 | sockets that say nothing, or next to nothing |
//! | `P2PFS_REGISTRATIONS` | 2,000 | 19,000 | clients of one registry |
//! | `P2PFS_FLIPS` | 24 | 120 | bits flipped on the wire |

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::Command;

/// The quantity of this name, or what is usual without one.
pub(crate) fn quantity(name: &str, usual: usize) -> usize {
    match env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")),
        Err(_) => usual,
    }
}

/// Tells what was measured, also where the output of tests is captured.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "network: {line}");
}

/// Whether hosts can be made here. Says so if not; in CI that is a failure.
pub(crate) fn can_make_hosts() -> bool {
    let lacks = if !rustix::process::geteuid().is_root() {
        Some("root")
    } else {
        ["ip", "tc", "nft"].into_iter().find(|tool| !is_there(tool))
    };
    lacks.is_none_or(refuse)
}

/// Tells that a test is left out; in CI that is a failure.
pub(crate) fn refuse(lacks: &str) -> bool {
    assert!(env::var_os("P2PFS_CI").is_none(), "this test needs {lacks}");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    tell(format_args!("skipped {test}: it needs {lacks}"));
    false
}

fn is_there(tool: &str) -> bool {
    let version = if tool == "nft" { "--version" } else { "-V" };
    Command::new(tool).arg(version).output().is_ok_and(|output| output.status.success())
}
