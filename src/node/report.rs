//! What the user is told, as values; their wording is here and nowhere else.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use log::Level;

use super::doctor::Finding;
use super::{Change, FetchError, HostPort, Paths, WishReport};
use crate::content::{Digest, FileError, FolderLoss, PathId};
use crate::count::Count;
use crate::limits::{JOBS_MAX, PROBE_TIMEOUT, SHARED_FILES_MAX};
use crate::proto::CloseReason;
use crate::proto::control::{Fetched, News};
use crate::wire::v0::FileName;
use crate::wire::v1::{PeerName, Verdict};
use crate::wire::{FieldText, FilePath, Malformed, PeerId, Shown};

/// Something the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A peer: the registry has entered us.
    Registered {
        registry: SocketAddrV4,
        /// Where it tells others that we listen, if that is known.
        address: Option<SocketAddrV4>,
    },
    /// A peer that may have any id: the registry refused one; we try another.
    IdRefused { peer: PeerId, text: FieldText, next: PeerId },
    /// A peer: the registry refused us; we try again.
    RegistrationRefused { registry: HostPort, text: FieldText, retry_in: Duration },
    /// A peer: no connection to the registry; we try again. It is `again` so, if this is not
    /// the first failure since the last registration. It `is_missed` if the user named it, or it
    /// was there once.
    RegistryUnreachable {
        registry: HostPort,
        reason: CloseReason,
        retry_in: Duration,
        again: bool,
        is_missed: bool,
    },
    /// The name of the registry's host leads to no address; we try again, unless there is no
    /// time for that.
    HostNotFound { host: String, why: String, retry_in: Option<Duration>, again: bool },
    /// An address of ours is gone, or there. Offers go out from it, if it `is_offered_on`.
    InterfaceChanged { change: Change, is_offered_on: bool },
    /// A peer: it offers on these interfaces, but the address of ours that the registry tells
    /// others is in none of their networks.
    OfferedApart { address: Ipv4Addr, interfaces: Vec<String> },
    /// A peer offers a file that it did not offer before.
    OfferSeen { path: PathId, peer: PeerId },
    /// A peer no longer offers a file.
    OfferGone { path: PathId, peer: PeerId },
    /// A datagram on the offer port is not an offer.
    DatagramDropped { from: SocketAddrV4, malformed: Malformed },
    /// A peer offers nothing any more.
    PeerGone { peer: PeerId },
    /// A wanted file is already in the folder.
    AlreadyThere { path: PathId },
    /// Something stands under the name of a wanted file, which is skipped therefore.
    Skipped { path: PathId },
    /// A wanted file is waited for.
    WaitingForOffer { path: PathId },
    /// A wanted file is on offer, and others may be, but the registry is missing, which tells
    /// where the source listens; `from` is where its offer came from.
    WaitingForRegistry { path: PathId, peer: PeerId, from: Ipv4Addr, registry: HostPort },
    /// A wanted file is waited for, and one is on offer whose name differs only in case or in
    /// its Unicode form.
    NearlyOffered { path: PathId, offered: FileName },
    /// A download began.
    DownloadStarted { path: PathId, peer: PeerId, address: SocketAddrV4 },
    /// A file comes slowly from a peer: another is asked, too.
    ComesSlowly { path: PathId, peer: PeerId, bytes_per_second: u64, other: PeerId },
    /// The content does not fit its checksum, and was discarded.
    ChecksumFailed { path: PathId, peer: PeerId, is_simulated: bool },
    /// The file could not be taken from a source; another, or the same later, is asked. There
    /// is no reason if the registry does not know the source, and it is `again` so if that is
    /// what was reported of it last.
    SourceFailed { path: PathId, peer: PeerId, reason: Option<CloseReason>, again: bool },
    /// Every source has failed; they are asked again. It is `again` so if that holds of each.
    AllSourcesFailed { path: PathId, retry_in: Duration, again: bool },
    /// A wanted file is there, safe and verified.
    Verified { path: PathId, peer: PeerId, size_bytes: u64, digest: Digest, elapsed: Duration },
    /// A file that was fetched has another name than that wanted: something stands there.
    SavedAs { wanted: PathId, path: PathId },
    /// What was fetched is what stood there already.
    Identical { path: PathId },
    /// A wanted file will not come; `is_all` if nothing else is wanted, and the program ends
    /// with these words.
    FetchFailed { path: PathId, error: FetchError, is_all: bool },
    /// The programs that asked for a file have ended before it was there: it is not fetched.
    Withdrawn { path: PathId },
    /// Nobody offers anything that matches a pattern yet, though everybody could have.
    /// One on offer would match, `nearly`, but for case or its Unicode form.
    WaitingForMatch { pattern: String, nearly: Option<FileName> },
    /// Nothing that matches was offered in time.
    NothingMatched { pattern: String },
    /// All that was heard of is there; a search still listens.
    ListeningOn,
    /// More names match than there may be jobs.
    TooManyMatch { pattern: String },
    /// Someone began to fetch a file from us.
    UploadStarted { path: PathId, to: SocketAddrV4, size_bytes: u64 },
    /// A file was sent whole.
    UploadDone { path: PathId, to: SocketAddrV4, size_bytes: u64, elapsed: Duration },
    /// A file was not sent whole. Why the connection is over is another report.
    UploadFailed { path: PathId, to: SocketAddrV4, reason: CloseReason },
    /// A peer tells what became of a file of which it has bytes from us.
    Verdict { path: PathId, peer: PeerId, name: PeerName, verdict: Verdict },
    /// A connection that came in is over, but not as it should be.
    ConnectionClosed { from: SocketAddrV4, reason: CloseReason },
    /// A file was requested that we do not share.
    NotShared { path: PathId, from: SocketAddrV4 },
    /// A connection that came in is refused: there are too many.
    ConnectionRefused { from: SocketAddrV4 },
    /// A file was added to our folder or changed, and has settled.
    FileShared { path: PathId },
    /// A file of ours is being written to.
    FileChanging { path: PathId },
    /// A file was added to our folder, which holds too many.
    FileRefused { path: PathId },
    /// Our folder itself is gone.
    FolderLost { why: FolderLoss },
    /// A file of ours is no longer shared.
    FileLost { path: PathId, error: FileError },
    /// A file of ours cannot be read now.
    ReadFailed { path: PathId, error: FileError },
    /// List: the registry cannot be asked where the peers listen.
    LookupsFailed { registry: SocketAddrV4, reason: CloseReason },
    /// Something about a wish of version 1.
    Wish(Box<WishReport>),
    /// Doctor: something was found.
    Finding(Box<Finding>),
    /// Another program, which was asked for a file, tells what becomes of it.
    News(Box<News>),
    /// Registry: a peer is entered.
    PeerEntered { peer: PeerId, address: SocketAddrV4 },
    /// Registry: a peer's entry is removed.
    PeerLeft { peer: PeerId, reason: CloseReason },
    /// Registry: a registration is refused.
    EntryRefused { peer: PeerId, address: SocketAddrV4, text: FieldText },
}

impl Report {
    /// Returns the report in words; `paths` are those of the node that made it.
    pub fn shown<'a>(&'a self, paths: &'a Paths) -> ShownReport<'a> {
        ShownReport { report: self, paths }
    }

    pub fn path(&self) -> Option<PathId> {
        match *self {
            Self::OfferSeen { path, .. }
            | Self::OfferGone { path, .. }
            | Self::AlreadyThere { path }
            | Self::Skipped { path }
            | Self::WaitingForOffer { path }
            | Self::NearlyOffered { path, .. }
            | Self::WaitingForRegistry { path, .. }
            | Self::DownloadStarted { path, .. }
            | Self::ComesSlowly { path, .. }
            | Self::ChecksumFailed { path, .. }
            | Self::SourceFailed { path, .. }
            | Self::AllSourcesFailed { path, .. }
            | Self::Verified { path, .. }
            | Self::SavedAs { path, .. }
            | Self::Identical { path }
            | Self::Withdrawn { path }
            | Self::FetchFailed { path, .. }
            | Self::UploadStarted { path, .. }
            | Self::UploadDone { path, .. }
            | Self::UploadFailed { path, .. }
            | Self::Verdict { path, .. }
            | Self::NotShared { path, .. }
            | Self::FileShared { path }
            | Self::FileChanging { path }
            | Self::FileRefused { path }
            | Self::FileLost { path, .. }
            | Self::ReadFailed { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Returns how much it matters.
    pub fn level(&self) -> Level {
        match self {
            Self::Wish(report) => report.level(),
            Self::RegistrationRefused { .. }
            | Self::DatagramDropped { .. }
            | Self::ChecksumFailed { .. }
            | Self::SourceFailed { again: false, .. }
            | Self::EntryRefused { .. }
            | Self::ConnectionRefused { .. }
            | Self::FileRefused { .. }
            | Self::FolderLost { .. }
            | Self::LookupsFailed { .. }
            | Self::TooManyMatch { .. }
            | Self::NearlyOffered { .. }
            | Self::OfferedApart { .. }
            | Self::Verdict { verdict: Verdict::Wrong, .. }
            | Self::ReadFailed { .. } => Level::Warn,
            Self::InterfaceChanged { change, is_offered_on } => match change.happened.is_gain() {
                false if *is_offered_on => Level::Warn,
                _ => Level::Info,
            },
            // Removed by its owner, who knows.
            Self::FileLost { error: FileError::Missing, .. } => Level::Info,
            Self::FileLost { .. } => Level::Warn,
            // What the program ends with is said once, by its last line.
            Self::FetchFailed { is_all: true, .. } => Level::Debug,
            Self::FetchFailed { .. } | Self::NothingMatched { .. } => Level::Error,
            Self::RegistryUnreachable { again: true, .. }
            | Self::RegistryUnreachable { is_missed: false, .. }
            | Self::HostNotFound { again: true, .. }
            | Self::SourceFailed { again: true, .. }
            | Self::AllSourcesFailed { again: true, .. }
            | Self::OfferGone { .. }
            | Self::NotShared { .. }
            | Self::UploadFailed { .. } => Level::Debug,
            Self::RegistryUnreachable { .. } | Self::HostNotFound { .. } => Level::Warn,
            Self::ConnectionClosed { reason, .. } if reason.is_their_fault() => Level::Warn,
            Self::ConnectionClosed { .. } => Level::Debug,
            _ => Level::Info,
        }
    }

    /// Returns whether it is about what is on offer: of that there may be very much.
    pub fn is_about_offers(&self) -> bool {
        match self {
            Self::OfferSeen { .. }
            | Self::OfferGone { .. }
            | Self::PeerGone { .. }
            | Self::FileShared { .. }
            | Self::FileChanging { .. }
            | Self::FileRefused { .. } => true,
            Self::FileLost { error, .. } => *error == FileError::Missing,
            _ => false,
        }
    }

    /// Returns whether it is what the user runs the program for.
    pub fn is_what_was_asked_for(&self) -> bool {
        matches!(self, Self::Finding(_) | Self::News(_))
    }

    /// Returns the address that caused it: the log limits the lines about each.
    pub fn about(&self) -> Option<SocketAddrV4> {
        match self {
            Self::DatagramDropped { from, .. }
            | Self::ConnectionClosed { from, .. }
            | Self::NotShared { from, .. }
            | Self::ConnectionRefused { from } => Some(*from),
            Self::UploadStarted { to, .. }
            | Self::UploadDone { to, .. }
            | Self::UploadFailed { to, .. } => Some(*to),
            Self::EntryRefused { address, .. } | Self::PeerEntered { address, .. } => {
                Some(*address)
            }
            _ => None,
        }
    }
}

/// What a path is called that is forgotten.
const A_FILE: &str = "a file";

/// A report in words, with the paths that it names.
pub struct ShownReport<'a> {
    report: &'a Report,
    paths: &'a Paths,
}

impl fmt::Display for ShownReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.report {
            Report::Registered { registry, address } => {
                write!(f, "registered at {registry}")?;
                address.iter().try_for_each(|address| write!(f, " as {address}"))
            }
            Report::IdRefused { peer, text, next } => {
                write!(f, "the registry refused id {peer}: {}; trying id {next}", Shown(text))
            }
            Report::RegistrationRefused { text, retry_in, .. } => {
                let (text, retry_in) = (Shown(text), retry_in.as_secs_f32());
                write!(f, "the registry refused us: {text}; trying again in {retry_in:.1} s")
            }
            Report::RegistryUnreachable { registry, reason, retry_in, .. } => {
                no_registry(f, registry, *reason, *retry_in)
            }
            Report::HostNotFound { host, why, retry_in, .. } => {
                write!(f, "cannot find the registry's host {}: {}; ", Shown(host), Shown(why))?;
                match retry_in.map(|time| time.as_secs_f32()) {
                    Some(retry_in) => write!(f, "trying again in {retry_in:.1} s"),
                    None => f.write_str("shown is where offers came from"),
                }
            }
            Report::InterfaceChanged { change, .. } => change.fmt(f),
            Report::OfferedApart { address, interfaces } => {
                let interfaces = Shown(interfaces.join(", "));
                write!(f, "the registry tells others our address {address}: peers behind ")?;
                write!(f, "{interfaces} hear our offers, and fetch only if they reach that")
            }
            Report::DatagramDropped { from, malformed } => {
                write!(f, "dropped a datagram from {from}: {malformed}")
            }
            Report::PeerGone { peer } => {
                write!(f, "peer {peer} is gone: it offers nothing any more")
            }
            Report::WaitingForMatch { pattern, nearly } => {
                write!(f, "waiting for an offer that matches {}", Shown(pattern))?;
                let differs = ", which is on offer, differs only in case or Unicode form";
                nearly.iter().try_for_each(|name| write!(f, "; {name}{differs}"))
            }
            Report::NothingMatched { pattern } => {
                write!(f, "nobody offered anything that matches {}", Shown(pattern))
            }
            Report::ListeningOn => f.write_str(
                "nothing is left to fetch of what was offered; listening for more that matches",
            ),
            Report::TooManyMatch { pattern } => {
                write!(f, "more than {JOBS_MAX} names match {}: ", Shown(pattern))?;
                f.write_str("the others are left out; fetch them by narrower patterns")
            }
            Report::ConnectionClosed { from, reason } => {
                write!(f, "closed the connection from {from}: {reason}")
            }
            Report::ConnectionRefused { from } => {
                write!(f, "refused a connection from {from}: too many are open")
            }
            Report::FolderLost { why } => {
                write!(f, "the shared folder is gone: {why}; nothing of it is shared any more; ")?;
                f.write_str(match why {
                    FolderLoss::Elsewhere => "start again to share what is there",
                    FolderLoss::Gone | FolderLoss::Failed(_) => "start again when it is back",
                })
            }
            Report::LookupsFailed { registry, reason } => {
                let why = Unanswered(*reason);
                write!(f, "no registry at {registry}: {why}; shown is where offers came from")
            }
            Report::Wish(report) => report.fmt(f),
            Report::Finding(finding) => finding.fmt(f),
            Report::News(news) => news.fmt(f),
            Report::PeerEntered { peer, address } => {
                write!(f, "peer {peer} registered at {address}")
            }
            // So programs end, for registries that notice nothing else.
            Report::PeerLeft { peer, reason: CloseReason::Broken(ErrorKind::ConnectionReset) } => {
                write!(f, "peer {peer} left")
            }
            Report::PeerLeft { peer, reason } => write!(f, "peer {peer} left: {reason}"),
            Report::EntryRefused { peer, address, text } => {
                write!(f, "refused peer {peer} at {address}: {}", Shown(text))
            }
            about_a_file => {
                let name = about_a_file.path().map_or(A_FILE, |path| self.name(path));
                self.fmt_about_file(f, name)
            }
        }
    }
}

impl ShownReport<'_> {
    fn name(&self, path: PathId) -> &str {
        self.paths.get(path).map_or(A_FILE, FilePath::as_str)
    }

    fn fmt_about_file(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        match self.report {
            Report::OfferSeen { peer, .. } => write!(f, "peer {peer} offers {name}"),
            Report::OfferGone { peer, .. } => write!(f, "peer {peer} no longer offers {name}"),
            Report::AlreadyThere { .. } => write!(f, "{name} is already there"),
            Report::Skipped { .. } => {
                write!(f, "{name} is already there: skipped, not compared")
            }
            Report::WaitingForOffer { .. } => write!(f, "waiting for someone to offer {name}"),
            Report::WaitingForRegistry { peer, from, registry, .. } => {
                write!(f, "peer {peer} offers {name} from {from}; waiting for the registry at ")?;
                write!(f, "{registry}, which tells where that peer listens")
            }
            Report::NearlyOffered { offered, .. } => {
                write!(f, "{name} is not on offer, but {offered} is: ")?;
                f.write_str("they differ only in case or Unicode form")
            }
            Report::ComesSlowly { peer, bytes_per_second, other, .. } => {
                write!(
                    f,
                    "{name} comes slowly from peer {peer}, with {bytes_per_second} bytes/s: "
                )?;
                write!(f, "asking peer {other}, too")
            }
            Report::DownloadStarted { peer, address, .. } => {
                write!(f, "downloading {name} from peer {peer} at {address}")
            }
            Report::ChecksumFailed { peer, is_simulated, .. } => {
                let simulated = if *is_simulated { " (simulated)" } else { "" };
                write!(f, "checksum of {name} from peer {peer} failed{simulated}: ")?;
                f.write_str("discarded, requesting it again from the start")
            }
            Report::SourceFailed { peer, reason: Some(reason), .. } => {
                match reason.is_our_fault() {
                    true => write!(f, "could not take {name} from peer {peer}: {reason}"),
                    false => write!(f, "peer {peer} could not give {name}: {reason}"),
                }
            }
            Report::SourceFailed { peer, reason: None, .. } => {
                write!(f, "peer {peer}, which offers {name}, is not known to the registry")
            }
            Report::AllSourcesFailed { retry_in, .. } => {
                let retry_in = retry_in.as_secs_f32();
                write!(f, "no source could give {name}; trying again in {retry_in:.1} s")
            }
            Report::Verified { peer, size_bytes, digest, elapsed, .. } => {
                verified(f, name, *peer, *size_bytes, *digest, *elapsed)
            }
            Report::SavedAs { wanted, .. } => {
                write!(f, "saved as {name}: something else stands under {}", self.name(*wanted))
            }
            Report::Withdrawn { .. } => {
                write!(f, "{name} is not fetched: the program that asked for it has ended")
            }
            Report::Identical { .. } => {
                write!(f, "{name} was there already, with the same content")
            }
            Report::FetchFailed { error, .. } => write!(f, "{name} cannot be fetched: {error}"),
            Report::UploadStarted { to, .. } => write!(f, "sending {name} to {to}"),
            Report::UploadDone { to, .. } => write!(f, "sent {name} to {to}"),
            Report::UploadFailed { to, reason, .. } => {
                write!(f, "{name} did not get to {to}: {reason}")
            }
            Report::Verdict { peer, name: their_name, verdict, .. } => {
                let their_name = Shown(their_name);
                match verdict {
                    Verdict::Verified => write!(f, "{name} is verified by {their_name}")?,
                    Verdict::Wrong => write!(f, "{their_name} got wrong bytes of {name}")?,
                    Verdict::GivenUp => write!(f, "{their_name} has given {name} up")?,
                    Verdict::Other(status) => {
                        write!(f, "{their_name} says {status} of {name}")?;
                    }
                }
                write!(f, " (peer {peer})")
            }
            Report::NotShared { from, .. } => {
                write!(f, "refused a request from {from}: {name} is not shared here")
            }
            Report::FileShared { .. } => write!(f, "sharing {name}"),
            Report::FileChanging { .. } => {
                write!(f, "{name} is changing: it is offered again once it has settled")
            }
            Report::FileRefused { .. } => {
                write!(f, "not shared: {name}: there are more than {SHARED_FILES_MAX} files")
            }
            Report::FileLost { error, .. } => write!(f, "{name} is no longer shared: {error}"),
            Report::ReadFailed { error, .. } => write!(f, "cannot read {name}: {error}"),
            // Each that is about no file has its words above.
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(name) => write!(f, "waiting for someone to offer {name}"),
            Self::Offered(name) => write!(f, "{name} is offered"),
            Self::Present(name) => write!(f, "{name} is already there"),
            Self::Verified(Fetched { name, peer, size_bytes, digest, elapsed }) => {
                verified(f, name.as_str(), *peer, *size_bytes, *digest, *elapsed)
            }
            Self::Failed { name, reason, .. } => {
                write!(f, "{name} cannot be fetched: {}", Shown(reason))
            }
        }
    }
}

fn no_registry(
    f: &mut fmt::Formatter<'_>,
    registry: &HostPort,
    reason: CloseReason,
    retry_in: Duration,
) -> fmt::Result {
    write!(f, "no registry at {registry}: {reason}; ")?;
    f.write_str(match reason {
        CloseReason::Broken(ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown) => {
            "is this machine on its network? "
        }
        _ => "say with --registry where it is, or start the only one with `p2pfs registry`; ",
    })?;
    write!(f, "trying again in {:.1} s", retry_in.as_secs_f32())
}

fn verified(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    peer: PeerId,
    size_bytes: u64,
    digest: Digest,
    elapsed: Duration,
) -> fmt::Result {
    let (bytes, elapsed) = (Count(size_bytes, "byte"), elapsed.as_secs_f32());
    write!(f, "verified {name} from peer {peer}: {bytes} in {elapsed:.2} s, SHA-256 {digest}")
}

/// Why something that was asked or connected to once did not answer as it should.
#[derive(Clone, Copy, Debug)]
pub struct Unanswered(pub CloseReason);

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NO_REGISTRY: &str = "that is no registry of p2pfs";
        match self.0 {
            CloseReason::TimedOut(_) | CloseReason::Broken(ErrorKind::TimedOut) => {
                write!(f, "no answer in {} s", PROBE_TIMEOUT.as_secs())
            }
            CloseReason::ClosedByPeer => write!(f, "it closed the connection; {NO_REGISTRY}"),
            CloseReason::Malformed(malformed) => write!(f, "it sent {malformed}; {NO_REGISTRY}"),
            CloseReason::PeerViolated { got, .. } => {
                write!(f, "it sent {got} that was not asked for; {NO_REGISTRY}")
            }
            reason => reason.fmt(f),
        }
    }
}
