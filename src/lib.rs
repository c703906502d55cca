//! p2pfs: the peers of a network share files with one another, verified, at almost
//! no cost. This page is the map of the house.
//!
//! A *registry* knows which peer listens where. Each *peer* shares a folder,
//! broadcasts an *offer* for each file over UDP, hears the offers of others, and
//! moves files over TCP: request, chunks, acknowledgments, and an EOF with the
//! file's SHA-256. Each process is one thread with one `mio` poll loop.
//!
//! ```text
//!  main ─▶ cli ─▶ run        parse, bind, say that we listen
//!                  │
//!                  ▼
//!        ui ◀── reactor ───▶ storage       every system call; the only clock
//!                  │  ▲
//!   sockets, files │  │ actions
//!   and time       ▼  │ bytes to send
//!                 node                     what to do: peer or registry
//!                  │
//!                  ▼
//!                proto                     one state machine for each connection
//!                  │
//!                  ▼
//!                 wire                     messages, names, how a stream is cut
//! ```
//!
//! | room | what it knows |
//! |---|---|
//! | [`wire`] | the protocol to the byte, as pure functions |
//! | [`proto`] | who may say what when, for one connection each |
//! | [`node`] | the two programs as pure state; its first page is the contract with the loop |
//! | [`reactor`] | the loop: sockets, readiness, the clock |
//! | [`ui`] | what people and programs are shown: log, events, progress, status |
//! | [`storage`] | the shared folder: scan, watch, hash, partial file to final name |
//! | [`content`] | the vocabulary of files that storage, node and ui share |
//! | [`limits`] | every bound, with its unit |
//! | [`count`] | numbers of things, as people say them |
//! | [`canary`] | seeded bugs, in test builds alone, to test the tests |
//!
//! Everything down from `node` does no I/O, so that the same code runs under the real
//! loop, under a simulator with made-up time and faults, and under a fuzzer. A
//! second protocol would be another set of machines in `proto`, chosen by the first
//! byte of a connection.
#![forbid(unsafe_code)]

pub mod canary;
pub mod cli;
pub mod content;
pub mod count;
pub mod exit;
pub mod limits;
pub mod logger;
pub mod node;
pub mod proto;
pub mod reactor;
pub mod run;
pub mod storage;
mod terminal;
pub mod ui;
pub mod wire;
