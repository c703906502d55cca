//! The swarm: one sharer and many getters on links of a rate, in virtual time.
//!
//! Beside `simulation`, which looks for faults, this one measures the policy of fetching and
//! serving: how much longer than one alone many getters of one content take. The nodes are those
//! of the product, driven by the contract of `kit::runner`; each run follows from its seed.
//!
//! ```text
//!  scenario ─▶ world ─▶ host      the hosts; events in order; a peer with its files
//!                │        │
//!                ▼        ▼
//!              queue    links     what happens next; uplinks, downlinks and streams
//!                         │
//!                         ▼
//!                      contents   files that are cut from one pattern
//!
//!              liar              a peer that has nothing of what it lists
//! ```
//!
//! A host has an uplink and a downlink of a rate, and nothing else takes time: neither disks nor
//! processors do, and nothing is lost. The bytes are real and are verified.
//!
//! Environment, all optional:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `P2PFS_SWARM` | part of the names of the large scenarios to run, or `all` | none |
//! | `P2PFS_SWARM_SEED` | the seed of each scenario | 1 |

mod contents;
mod host;
mod liar;
mod links;
mod queue;
mod scenario;
mod world;

use std::time::{Duration, Instant};

use liar::Excuse;
use scenario::{Figures, Scenario};

/// Runs a scenario and prints its figures.
fn run(scenario: &Scenario) -> Figures {
    let began = Instant::now();
    let figures = scenario.run();
    figures.print(began);
    figures
}

#[test]
fn one_alone_fetches_at_the_rate_of_its_link() {
    let figures = run(&Scenario::new("one alone", 1, 400));
    let bound = Duration::from_secs_f64(1.03 * 400.0 * 262_144.0 / 12_500_000.0);
    assert!(figures.alone <= bound, "{figures}");
    assert_eq!((figures.ratio(), figures.unfinished), (1.0, 0), "{figures}");
    assert_eq!((figures.sharer_copies, figures.duplicates), (1.0, 0.0), "{figures}");
}

#[test]
fn a_sharer_that_was_restarted_is_asked_for_the_manifest_as_soon_as_it_has_it() {
    let figures = run(&Scenario { was_restarted: true, ..Scenario::new("restarted", 1, 400) });
    assert!(figures.ratio() < 1.05, "{figures}");
}

#[test]
fn getters_that_a_full_sharer_refused_come_again() {
    let figures = run(&Scenario { connections_max: 16, ..Scenario::new("full sharer", 24, 4) });
    assert_eq!(figures.unfinished, 0, "{figures}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = Scenario { slow_percent: 25, late_percent: 25, ..Scenario::new("again", 8, 16) };
    assert_eq!(scenario.run(), scenario.run());
}

#[test]
fn getters_give_one_another_what_the_sharer_gave() {
    let figures = run(&Scenario::new("few", 4, 400));
    assert!(figures.ratio() < 1.4, "{figures}");
    assert!(figures.sharer_copies < 1.4 && figures.duplicates < 0.02, "{figures}");
    assert_eq!(figures.unfinished, 0, "{figures}");
}

#[test]
fn slow_peers_and_those_that_leave_or_come_late_hold_nobody_up() {
    let mixed = Scenario { slow_percent: 20, leaving_percent: 20, ..Scenario::new("", 20, 200) };
    let figures = run(&Scenario { name: "mixed", late_percent: 30, ..mixed });
    assert!(figures.ratio() < 2.5, "{figures}");
    assert_eq!(figures.unfinished, 0, "{figures}");
}

#[test]
fn peers_that_cannot_be_dialed_give_and_take_over_their_own_sessions() {
    let figures = run(&Scenario { hidden_percent: 30, ..Scenario::new("hidden", 20, 200) });
    assert!(figures.ratio() < 1.8, "{figures}");
    assert_eq!(figures.unfinished, 0, "{figures}");
}

#[test]
fn peers_that_lie_about_what_they_have_hold_nobody_up() {
    let figures = run(&Scenario { liars: 6, ..Scenario::new("liars", 7, 100) });
    assert!(figures.ratio() < 1.1, "{figures}");
    assert_eq!(figures.unfinished, 0, "{figures}");
}

#[test]
fn peers_that_say_that_they_have_all_and_send_nothing_hold_nobody_up() {
    let mute = Scenario { excuse: Excuse::Mute, ..Scenario::new("mute", 7, 400) };
    let figures = run(&Scenario { liars: 6, ..mute });
    assert!(figures.ratio() < 2.0, "{figures}");
    assert_eq!(figures.unfinished, 0, "{figures}");
}

#[test]
fn getters_of_a_group_with_a_secret_take_as_long_as_others() {
    let open = Scenario::new("open", 4, 100);
    let bound = run(&open).last.mul_f64(1.05);
    let figures = run(&Scenario { has_secret: true, ..Scenario::new("secret", 4, 100) });
    assert!(figures.last <= bound, "{figures}");
    assert_eq!(figures.unfinished, 0, "{figures}");
}

/// Runs the large scenarios that the environment names, and prints a row of figures for each.
#[test]
fn large() {
    let Ok(names) = std::env::var("P2PFS_SWARM") else { return };
    for scenario in large_scenarios() {
        if names == "all" || scenario.name.contains(&names) {
            run(&scenario);
        }
    }
}

fn large_scenarios() -> Vec<Scenario> {
    let equal = |name, getters| Scenario::new(name, getters, 400);
    let mixed = |name, getters| Scenario {
        slow_percent: 20,
        leaving_percent: 20,
        late_percent: 30,
        ..equal(name, getters)
    };
    vec![
        equal("4 equal", 4),
        equal("16 equal", 16),
        equal("64 equal", 64),
        Scenario { stays: true, ..equal("64 that stay", 64) },
        mixed("64 mixed", 64),
        Scenario { hidden_percent: 30, ..equal("64 of which 30 % cannot be dialed", 64) },
        Scenario { sharer_leaves: true, ..equal("64 whose sharer leaves", 64) },
        Scenario { corrupt: 4, ..equal("64 of which 4 send wrong bytes", 64) },
        Scenario { liars: 4, ..equal("64 of which 4 lie about what they have", 64) },
        Scenario {
            sizes: (0..4_000).map(|_| 64 * 1024).collect(),
            ..equal("64 of small files", 64)
        },
        Scenario::new("1000 of a small image", 1_000, 4),
        equal("1000 equal", 1_000),
        mixed("1000 mixed", 1_000),
    ]
}
