//! The real binary, in processes of its own, through whole scenarios.
//!
//! | module | what it proves |
//! |---|---|
//! | `transfers` | files of every size arrive; many at once; the window |
//! | `failing_sources` | a source that dies, lies, hangs or refuses costs no file |
//! | `changing_files` | a file that changes never arrives as a mixture |
//! | `following` | what changes in a folder is followed, and nothing half-written offered |
//! | `registry` | registration, lookups, removal, hostile clients |
//! | `outages` | the registry or a peer goes away and comes back |
//! | `trees` | folders with all below them, as version 1 lists them, and followed |
//! | `storage` | simulated storage; what is not offered; leftovers |
//! | `sessions` | what is shared by version 1, asked by hand |
//! | `stopping` | signals and exit codes |
//! | `command_line` | bad input, ports in use |
//! | `json` | events are as documented; a reader who does not read stops nothing |
//! | `wishes` | folders, patterns and contents by version 1, without a registry |
//! | `secret` | groups with a secret, among themselves and beside others |
//! | `rates` | `--limit-up` and `--limit-down` |
//! | `interplay` | our programs beside the reference's, in every mix |
//! | `reference_alone` | the reference's programs among themselves |

mod changing_files;
mod command_line;
mod failing_sources;
mod following;
mod interplay;
mod json;
mod outages;
mod rates;
mod reference_alone;
mod registry;
mod secret;
mod sessions;
mod stopping;
mod storage;
mod transfers;
mod trees;
mod wishes;
