//! The commands for every day, as processes: what they do, their exit codes, and what
//! goes to which stream.
//!
//! | module | what it proves |
//! |---|---|
//! | `share` | where it listens, what it offers and skips, without a registry |
//! | `get` | files arrive; names, patterns, several sources; a guest leaves no trace |
//! | `beacons` | a sharer is there, answers queries and leaves |
//! | `conflicts` | something stands under the name of a file |
//! | `to_stdout` | one file to stdout, only once it is verified |
//! | `exit_codes` | each code that `get` can end with |
//! | `list` | what is on offer, once and as it changes |
//! | `doctor` | what is told of a network in which something is wrong |
//! | `service` | what a service manager is told |
//! | `surroundings` | streams that are closed or full |
//! | `reference_beside` | `share` and `get` beside the reference's programs |
//! | `progress` | what a person sees at a terminal, and elsewhere |
//! | `status` | how a program does, for people and programs; metrics |
//! | `json` | `--json` of share, get and list |
//! | `secret` | a secret is made, found, checked and told of |
//! | `options` | environment variables, completions, the manual page, a bare environment |
//!
//! All traffic stays within 127.0.0.0/8: every command is told `--interface 127.0.0.1`.

mod beacons;
mod conflicts;
mod doctor;
mod exit_codes;
mod get;
mod json;
mod list;
mod options;
mod progress;
mod reference_beside;
mod secret;
mod service;
mod share;
mod status;
mod surroundings;
mod to_stdout;
