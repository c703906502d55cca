//! p2pfs: the peers of a network share files with one another, verified, at almost
//! no cost. This page is the map of the house.
//!
//! A *peer* shares files and folders. By version 1 of the protocol it broadcasts a
//! *beacon* over UDP, and a getter opens a *session* over TCP: it lists what is shared,
//! and requests blocks of each file from all sources at once. BLAKE3 verifies each block.
//! By version 0 a peer broadcasts an *offer* for each file, and moves files whole:
//! request, chunks, acknowledgments, and an EOF with the file's SHA-256. A *registry*
//! knows which peer listens where; version 1 does without. Each process is one thread with
//! one `mio` poll loop.
//!
//! ```text
//!  main ─▶ cli ─▶ run        parse, bind, say that we listen
//!                  │
//!                  ▼
//!        ui ◀── reactor ───▶ storage       every system call; the only clock
//!                  │  ▲
//!   sockets, files │  │ actions
//!   and time       ▼  │ bytes to send
//!                 node                     what to do: a file for each program
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
//! | [`wire`] | the messages to the byte, as pure functions |
//! | [`proto`] | which message is legal when, on one connection |
//! | [`node`] | the programs as pure state; its first page is the contract with the loop |
//! | [`reactor`] | the loop: sockets, readiness, the clock |
//! | [`storage`] | the shared folder: scan, watch, hash, partial file to final name |
//! | [`ui`] | what people and programs are shown: log, events, progress, status |
//! | [`stdio`] | stdout and stderr, which never block |
//! | [`content`] | the vocabulary of files that storage, node and ui share |
//! | [`limits`] | every bound, with its unit |
//! | [`count`] | numbers of things, as people say them |
//!
//! Everything down from `node` does no I/O, so that the same code runs under the real
//! loop, under a simulator with virtual time and faults, and under a fuzzer. Each
//! version of the protocol has rooms of its own, such as `wire::v0` and `proto::v0`; the first
//! byte of a connection chooses among them. `node::fetch` fetches by version 0, `node::gather` by
//! version 1. Peers with a *secret* seal their sessions: see `proto::v1::Sealed`. A getter gives
//! nothing while it fetches.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | peer, registry | a program that shares or fetches files; one that knows where peers listen |
//! | reference | the older implementation of version 0, in Python |
//! | offer | a datagram of version 0: this peer has this file |
//! | beacon | a datagram of version 1: this peer is here, and looks for, or has, these tags |
//! | tag | the hash of a path or of an id, in a beacon |
//! | session | a connection of version 1; both sides may send requests |
//! | secret, member, group | what only some peers know; one of them; all of them |
//! | seal, record | to encrypt so that a change is noticed; a piece of a sealed connection |
//! | catalog | the files that a sharer lists; its generation is the number of a change |
//! | content, id | the bytes named by their BLAKE3 and their size; that BLAKE3 |
//! | block, value, manifest | a piece of a content; its hash; the hashes of all blocks |
//! | wish | something that the user wants: a path, a folder, a pattern or a content |
//! | source | a peer that has a file which we want |
//! | guest | a peer that fetches, and registers, offers and serves nothing |
//! | job | the work to fetch one file, from its name to its final name |
//! | request | the message that asks an uploader for a file |
//! | upload, download | a connection on which files go out, come in |
//! | chunk, acknowledgment | a piece of a file on the wire; the answer to each |
//! | verdict | whether what came has the digest that the uploader announced |
//! | verified | received whole, with the announced digest |
//! | final name, temporary name | the name of a verified file; of one that is still coming in |
//! | partial file | a file under its temporary name |
//! | commit | to sync a partial file and give it its final name |
//! | version | what tells one state of a file from another without reading it |
//! | settle | to stay unchanged for long enough to be shared |
//! | node | a program as pure state |
//! | runner | what drives a node: the reactor, the simulator, a fuzzer |
//! | input, action | what a runner tells a node; what a node wants done |
//! | report | what a node tells the user |
//! | control socket | where other programs of the same user ask how this one does, or for files |
//! | turn | one round of the loop, from a poll to the next |
//! | budget | how much of one kind of work a turn may do |
//! | path id, job id, file id, connection id | the small number that a thing is known by inside |
//! | evict, expire | to forget something to make room; because its time is over |
//! | back off | to wait, each time longer, before something is tried again |
#![forbid(unsafe_code)]

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
pub mod stdio;
pub mod storage;
mod terminal;
pub mod ui;
pub mod wire;
