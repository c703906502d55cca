//! The programs as pure state: peer and registry, those that only look, list and doctor, and
//! the one that asks other programs of the same user.
//!
//! This page is the whole contract between a node and its runner: the reactor with real
//! sockets and files, the simulator with made-up ones, or a fuzz target.
//!
//! ```text
//!            accept, handle(Input), handle_timeout, transmitted, blocked
//!   runner ────────────────────────────────────────────────────▶ node
//!          ◀────────────────────────────────────────────────────
//!            poll_action, poll_timeout, transmit, read_allowance_bytes
//! ```
//!
//! 1. After each call that takes input the runner drains [`Node::poll_action`] to `None` and
//!    carries out each action. Until then it gives no other input but the outcomes of these
//!    actions (a file opened, bytes written), and the bytes of [`Input::Received`] stay valid.
//! 2. Bytes to send are pulled: after [`Action::Transmit`], and whenever the
//!    connection can take more, the runner calls [`Node::transmit`] until it
//!    returns `None`, and answers each with [`Node::transmitted`], or [`Node::blocked`]; on a
//!    connection that [`Node::is_sealed`], ranges of files with [`Input::Read`].
//! 3. Before each read the runner asks [`Node::read_allowance_bytes`] and reads no more.
//! 4. A file for which the runner gave `FileFailed` is closed: actions for it that were
//!    already queued are ignored.
//! 5. Changes of the shared folder are told in their order, and before anything else that
//!    came in the same turn: a peer that requests a file never gets one that is known to be
//!    changing.
//! 6. A path is known by its [`PathId`]. One that an action or a report names can be looked
//!    up with [`Node::paths`] until [`Node::poll_action`] returns `None`; ids in later
//!    answers may be void, and are ignored then.
//! 7. After [`Action::Close`], or an input that says that the connection is gone,
//!    its id is never heard or used again: ids carry a generation.
//!
//! To add an action: its variant and that of its answer here, the node that asks for it, and
//! `carry_out` of both runners (`reactor/actions.rs` and `tests/kit/src/runner`, which serves
//! the simulator and the fuzz targets, and holds nodes to these rules).
//!
//! A node reads no clock, draws its jitter from the seed it was given and
//! iterates only over ordered tables, so the same inputs give the same actions.

// Bytes from outside reach all of this: nothing here may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod asking;
mod connections;
mod deadlines;
pub mod doctor;
mod fetch;
mod fetch_error;
mod gather;
mod host_port;
mod interfaces;
mod listing;
mod paths;
mod pattern;
mod peer;
mod peers;
mod registry;
mod report;
mod retry;
#[cfg(test)]
mod scene;
mod share;
mod snapshot;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::time::Instant;

pub use crate::content::PathId;
pub use asking::{Answered, AskNode};
pub use connections::ConnectionId;
pub use fetch_error::{Doubt, FetchError};
pub use gather::{
    Candidate, GatherSettings, Giver, IdPrefix, Listed, ListedEntry, PathPattern, Restriction,
    Time, Wish, WishError, WishReport,
};
pub use host_port::{HostPort, is_of_one_host};
pub use interfaces::{Change, Happened, Interface, Which, changes};
pub use listing::{HeardOffer, ListNode, Subnet};
pub use paths::Paths;
pub use pattern::NamePattern;
pub use peer::{
    BeaconSettings, GroupSettings, GuestSettings, PeerKind, PeerNode, PeerSettings, RegistryUse,
};
pub use registry::RegistryNode;
pub use report::{Report, Unanswered};
pub use snapshot::{Direction, Inventory, JobProgress, Snapshot, Transfer};

use crate::content::{
    Attributes, Content, FileError, FolderLoss, Hash, HashKind, Known, Sight, Version,
};
use crate::limits::OFFER_BYTES;
use crate::proto::{CloseReason, FileId, Transmit};
use crate::wire::FilePath;
use crate::wire::v0::FileName;
use crate::wire::v1::Value;

/// A program as pure state.
pub trait Node {
    /// Takes a connection in. Returns `None` if it is refused: the runner closes it.
    fn accept(&mut self, _now: Instant, _from: SocketAddrV4) -> Option<ConnectionId> {
        None
    }
    /// Takes a program of the same user in, which came by the control socket. Returns `None` if
    /// it is refused: the runner closes it.
    fn accept_program(&mut self, _now: Instant) -> Option<ConnectionId> {
        None
    }
    /// Takes an input. Inputs about ids that are gone are ignored.
    fn handle(&mut self, now: Instant, input: Input<'_>);
    /// Acts on the deadlines that have passed. Early calls are harmless.
    fn handle_timeout(&mut self, now: Instant);
    /// Returns when to call [`Node::handle_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;
    fn poll_action(&mut self) -> Option<Action>;
    /// Returns the paths that actions and reports name.
    fn paths(&self) -> &Paths;
    /// Returns what to send next on a connection.
    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>>;
    /// Returns whether what is sent on a connection is sealed. Ranges of files are then read, and
    /// given back with [`Input::Read`], instead of being sent.
    fn is_sealed(&self, _connection: ConnectionId) -> bool {
        false
    }
    /// Returns the bytes that [`Action::Write`] means if those of [`Input::Received`] were sealed:
    /// what was opened of them. They stay valid for as long as those.
    fn opened(&self) -> Option<&[u8]> {
        None
    }
    /// The socket took this many bytes of what `transmit` returned.
    fn transmitted(&mut self, now: Instant, connection: ConnectionId, len_bytes: usize);
    /// The socket takes nothing more of it for now.
    fn blocked(&mut self, _now: Instant, _connection: ConnectionId) {}
    /// What is to be sent waits for a rate that the user has set: this is no standstill. Told when
    /// the wait begins.
    fn waits_to_send(&mut self, _now: Instant, _connection: ConnectionId) {}
    /// What is to be read waits for such a rate.
    fn waits_to_receive(&mut self, _now: Instant, _connection: ConnectionId) {}
    /// Returns how many bytes may be read from the connection now, at once or in pieces, so
    /// that what they can cause to be sent is bounded. 0 pauses reading, until `transmitted`
    /// or an [`Action::Transmit`] has changed that.
    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize;
    /// Returns what it is doing now, to be shown.
    fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
    /// Returns what it has and knows, at most `names_max` of each.
    fn inventory(&self, _names_max: usize) -> Inventory {
        Inventory::default()
    }
}

#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A datagram came to the offer port: all of it, or its first 74 bytes.
    Datagram { from: SocketAddrV4, bytes: &'a [u8] },
    /// A datagram came to the beacon port: all of it, or its first 513 bytes.
    Beacon { from: SocketAddrV4, bytes: &'a [u8] },
    /// One [`Action::Send`] failed.
    NotSent { from: Ipv4Addr, to: SocketAddrV4, kind: io::ErrorKind },
    /// These addresses of ours are used: told first, and again whenever one has changed. A
    /// runner that does not know its addresses tells nothing.
    Interfaces(&'a [Interface]),
    /// The answer to [`Action::Resolve`]: the address of the host, or why there is none, in
    /// words.
    Resolved(Result<Ipv4Addr, String>),
    /// A connection from another host was accepted at this address of ours. A runner with one
    /// address need not tell it.
    ReachedAt { connection: ConnectionId, address: Ipv4Addr },
    /// The connection asked for with [`Action::Dial`] comes from this address of ours. A
    /// runner with one address need not tell it.
    DialedFrom { connection: ConnectionId, from: Ipv4Addr },
    /// If this connection were made now, it would come from another address of ours. One whose
    /// address is gone is `Broken`, with `AddrNotAvailable`.
    Rerouted(ConnectionId),
    /// The connection asked for with [`Action::Dial`] or [`Action::DialProgram`] is made.
    Connected(ConnectionId),
    /// Bytes came, at least one. All of them are consumed.
    Received { connection: ConnectionId, bytes: &'a [u8] },
    /// The first bytes, at least one, of a range of a file that is to be sealed and sent.
    Read { connection: ConnectionId, bytes: &'a [u8] },
    /// The other side sends no more.
    ReadClosed(ConnectionId),
    /// The connection could not be made, or broke; it is gone.
    Broken { connection: ConnectionId, kind: io::ErrorKind },
    /// The answer to [`Action::Describe`].
    Described { connection: ConnectionId, text: &'a str },
    /// The answer to [`Action::OpenSource`], [`Action::OpenPartialSource`] and
    /// [`Action::StatSource`].
    Opened { file: FileId, version: Version },
    /// All bytes of one [`Action::Write`] are written.
    Written { file: FileId, len_bytes: usize },
    /// The answer to [`Action::Commit`]: the file is closed, and safe under its final name,
    /// which is another than was wanted with
    /// [`OnConflict::Rename`](crate::content::OnConflict::Rename).
    Committed { file: FileId, path: FilePath, version: Version },
    /// The answer to [`Action::OpenPartial`]: where the file has bytes already, in order. They
    /// count once they are hashed.
    PartialOpened { file: FileId, data: Vec<Range<u64>> },
    /// The answer to [`Action::HashBlock`]: the value of what stands there, zeros where nothing
    /// does. Of a content of one block it is the id.
    BlockHashed { file: FileId, block: u32, value: Value },
    /// The answer to [`Action::MakeFolder`].
    FolderMade { path: PathId, made: Result<(), FileError> },
    /// An open, create, write, read or commit failed; the file is closed. A partial one is
    /// removed, but for one of [`Action::OpenPartial`]: that is left as by [`Action::Keep`],
    /// unless its fsync failed or, with
    /// [`OnConflict::Skip`](crate::content::OnConflict::Skip), something took its name.
    FileFailed { file: FileId, error: FileError },
    /// A complete file stands in the shared folder, at the start, with the hashes of this
    /// version that are known.
    FileFound { path: FilePath, version: Version, known: Known },
    /// A file stands in the shared folder in this version. `sight` says what happened to it;
    /// the answer to [`Action::Look`] is [`Sight::Looked`].
    FileSeen { path: FilePath, version: Version, sight: Sight },
    /// No regular file stands in the shared folder under this path.
    FileGone { path: FilePath },
    /// A folder with nothing in it stands in the shared folder.
    EmptyFolder { path: FilePath },
    /// A folder that was empty is gone, or holds something.
    EmptyFolderGone { path: FilePath },
    /// Some changes of the shared folder, or of this folder in it, were missed. The node asks for
    /// a look at each file that it knows there; the runner reports all others, as
    /// [`Sight::Looked`].
    ChangesMissed { below: Option<FilePath> },
    /// The shared folder itself is gone. Nothing more is told of it.
    FolderLost(FolderLoss),
    /// The hash asked for with [`Action::Hash`] goes on.
    HashProgress { path: PathId, kind: HashKind, version: Version, hashed_bytes: u64 },
    /// The hash asked for is done, and the version was the same at both ends of it.
    Hashed { path: PathId, version: Version, hash: Hash },
    /// The hash asked for failed; with `Changed` if the file changed meanwhile.
    HashFailed { path: PathId, kind: HashKind, error: FileError },
    /// The user wants these files: all that `exit_when_done` waits for.
    Want(&'a [FileName]),
    /// The user wants every file with such a name that is heard of.
    WantMatching(&'a [NamePattern]),
    /// The user wants these, by whatever version: all that `exit_when_done` waits for.
    Wish(&'a [Wish]),
    /// The user wants the program to end.
    Stop(Signal),
}

/// What the runner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this datagram to the broadcast address. Failure is not reported: the
    /// offer is repeated anyway.
    Broadcast([u8; OFFER_BYTES]),
    /// Send this datagram from an address of ours to the broadcast address of its network, or
    /// from each address that is used; to the beacon port. Failure is not reported: beacons are
    /// repeated anyway.
    SendBeacon { from: Option<Ipv4Addr>, datagram: Box<[u8]> },
    /// Send one datagram from an address of ours; `to` may be a broadcast address. Answered
    /// with `NotSent` if that fails.
    Send { from: Ipv4Addr, to: SocketAddrV4, datagram: Box<[u8]> },
    /// Find the address of the host with this name. Answered with `Resolved`, unless another
    /// is asked for meanwhile.
    Resolve(String),
    /// Make a connection. Answered with `Connected` or `Broken`.
    Dial { connection: ConnectionId, to: SocketAddrV4 },
    /// Make a connection to another program of the same user, by its number among those that
    /// the runner knows. Answered with `Connected` or `Broken`.
    DialProgram { connection: ConnectionId, program: usize },
    /// Put into words, for the program on this connection, how this one does: by its
    /// [`Node::snapshot`] and [`Node::inventory`]. Answered with `Described`.
    Describe {
        connection: ConnectionId,
        /// Whether the text is to be JSON.
        json: bool,
    },
    /// This connection has something to send.
    Transmit(ConnectionId),
    /// Close a connection, at once.
    Close { connection: ConnectionId, how: CloseHow, reason: CloseReason },
    /// Open a file of the shared folder for sending. Answered with `Opened` or `FileFailed`.
    OpenSource { file: FileId, path: PathId },
    /// Open for sending what is open as `partial`, of [`Action::OpenPartial`]: whatever becomes of
    /// that, this stays open. Answered with `Opened` or `FileFailed`.
    OpenPartialSource { file: FileId, partial: FileId },
    /// Stat a file that is open for sending. Answered with `Opened` or `FileFailed`.
    StatSource(FileId),
    /// Create a partial file. Answered with `FileFailed` if that does not work, or if
    /// something stands under the final name, see [`OnConflict`](crate::content::OnConflict).
    CreatePartial { file: FileId, path: PathId },
    /// Open the partial file of a content, which an earlier run may have left, or create it.
    /// It is written at any offset, and no other file gets its place meanwhile: of two open ones
    /// with one content in one folder the second begins empty. Answered with `PartialOpened`, or
    /// with `FileFailed` as for `CreatePartial`, and if the rest of it has no room on the disk.
    OpenPartial { file: FileId, path: PathId, content: Content, attributes: Attributes },
    /// Hash what stands in the place of a block of a partial file of a content, in slices.
    /// Answered with `BlockHashed` or `FileFailed`. The value is of no use if the block is written
    /// to meanwhile.
    HashBlock { file: FileId, block: u32 },
    /// Close a partial file and leave what it has for a later run. One of
    /// [`Action::CreatePartial`], or that could not be continued, is removed.
    Keep(FileId),
    /// Make an empty folder, and those on the way to it. Answered with `FolderMade`, also if it
    /// is there already.
    MakeFolder(PathId),
    /// Make a file as `OpenPartial` and `Commit` do, with the bytes of another file, in slices.
    /// Answered with `Committed` or `FileFailed`; with `Changed` if the other one has not, or
    /// no longer, this content. Ends with `Discard`.
    CopyFile { file: FileId, from: PathId, path: PathId, content: Content, attributes: Attributes },
    /// Write bytes of the input `Received` that is being handled, or of [`Node::opened`], to a
    /// partial file.
    /// Answered with `Written` or `FileFailed`.
    Write { file: FileId, range: Range<usize>, offset: u64 },
    /// Make a partial file safe and give it its final name, replacing nothing unless the
    /// user wants that. Answered with `Committed` or `FileFailed`.
    Commit(FileId),
    /// Close a file; a partial one is removed.
    Discard(FileId),
    /// Hash a file of the shared folder, in slices; a hash of it and of this kind that is under
    /// way begins anew. Answered with `HashProgress` and `Hashed`, or `HashFailed`.
    Hash { path: PathId, kind: HashKind },
    /// Look what stands in the shared folder under a name. Answered with `FileSeen`, as
    /// [`Sight::Looked`], or `FileGone`.
    Look(PathId),
    /// Tell the user.
    Report(Report),
    /// End the program with this outcome, once all actions before it are done, and what the
    /// connections that are left have to send is sent, as far as there is room for it.
    Exit(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseHow {
    /// In order: what was sent arrives.
    Finish,
    /// With a reset: the reference hangs on an orderly close, and its registry
    /// forgets a peer only at a reset.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    HangUp,
    Interrupt,
    Terminate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every file that was wanted is there.
    AllDone,
    /// Every job has ended, `failed` of them without the file; `error` is why the last one did.
    /// The user `is_told` of each, unless it is the same error of all.
    SomeFailed { failed: usize, done: usize, error: FetchError, is_told: bool },
    /// Every file that was heard of is there, `done` of them; more may match a pattern.
    MaybeMore { done: usize, doubt: Doubt },
    /// The registry refused the registration; its words.
    Refused(crate::wire::FieldText),
    /// The registry's host was not found at the first attempt; why, in words.
    NoSuchHost { host: String, why: String },
    /// A signal came.
    Stopped(Signal),
}
