//! The real binary under floods, and on several hosts: what only the kernel's own
//! network can prove.
//!
//! | module | rows of FAULTS.md | what it proves |
//! |---|---|---|
//! | `datagrams` | 8, 28 | junk and made-up offers cost no more than half of the rate, and no memory |
//! | `connections` | 23, 37 | connections by the thousand; no descriptor left |
//! | `silent` | 22 | clients that say nothing, dribble or never read are closed in time |
//! | `crowded` | 14, 38 | a fast peer beside a hundred slow ones; every connection in use |
//! | `registrations` | 36 | what a lookup costs with a full registry |
//! | `endless` | 25 | a file without end stops at the limits |
//! | `wire` | 6 | flipped bits are seen, wiped and asked for again |
//! | `discovery` | 2, 23 | finding each other by broadcast; lost and strange datagrams; the cap for an address |
//! | `links` | 3, 5, 7, 9 | links that are cut, slow, reset or taken down |
//! | `commands` | | which interfaces the commands for every day use |
//! | `vanished` | 4, 33 | hosts that vanish without a word; a registry that comes back |
//!
//! The first seven stay on the loopback. The others make hosts of network namespaces
//! (`hosts`): they need root, `ip`, `tc` and `nft`, and say so and pass where that is
//! not there; with `P2PFS_CI` set they fail instead.
//!
//! Row 14 has a second half, "the longest turn under 5 ms", which is the simulator's:
//! a loop cannot be watched from outside, least of all on a machine that others use.
//!
//! How much is tried is set by the environment (`quantities`); without it the figures
//! are small. Whoever measures something runs alone (`turns`).

#[path = "../processes/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests of processes")]
mod harness;
#[path = "../processes/messages.rs"]
#[allow(dead_code, reason = "shared with the tests of processes")]
mod messages;

mod commands;
mod connections;
mod crowd;
mod crowded;
mod datagrams;
mod discovery;
mod endless;
mod figures;
mod flood;
mod hosts;
mod links;
mod quantities;
mod registrations;
mod silent;
mod turns;
mod vanished;
mod wire;
