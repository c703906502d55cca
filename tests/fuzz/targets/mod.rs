//! The fuzz targets: plain functions from bytes to a panic or none.
//!
//! `tests/fuzz/main.rs` runs them in every `cargo test`, `tests/fuzz/libfuzzer` under
//! libFuzzer. A target of a machine or a node reads its bytes as a [`script::Script`]:
//! a sequence of decisions, so that every input is a legal use of the interface, with
//! hostile content, and a mutation of it is another one.

mod beacon;
mod clock;
mod control;
mod datagram;
mod deframer;
mod download;
mod file_name;
mod peer_node;
mod peer_runner;
mod registration;
mod registry_node;
mod script;
mod sealed;
mod session;
mod shown;
mod upload;

/// A way into the program, by its name.
pub(crate) struct Target {
    /// What it is called, also in the folder of the corpus.
    pub(crate) name: &'static str,
    /// Panics if the bytes lead to something that must not be.
    pub(crate) run: fn(&[u8]),
}

/// Every target there is.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "beacon", run: beacon::run },
    Target { name: "control", run: control::run },
    Target { name: "datagram", run: datagram::run },
    Target { name: "deframer", run: deframer::run },
    Target { name: "download", run: download::run },
    Target { name: "file_name", run: file_name::run },
    Target { name: "peer_node", run: peer_node::run },
    Target { name: "registration", run: registration::run },
    Target { name: "registry_node", run: registry_node::run },
    Target { name: "sealed", run: sealed::run },
    Target { name: "session", run: session::run },
    Target { name: "shown", run: shown::run },
    Target { name: "upload", run: upload::run },
];
