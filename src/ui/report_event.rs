//! Turns a report into an event.

use std::fmt::Display;
use std::time::Duration;

use super::events::Event;
use super::json::{Seconds, Text, text};
use crate::content::{Content, Digest, PathId};
use crate::node::{Candidate, Giver, Paths, Report, Time, WishReport};
use crate::proto::control::{Fetched, News};
use crate::wire::v1::{EntryState, Verdict};
use crate::wire::{FilePath, PeerId};

impl Event {
    /// Returns the event of a report. Reports about faults of other peers have none, nor have
    /// those that repeat what another event says.
    pub fn of_report(report: &Report, paths: &Paths) -> Option<Self> {
        let name = |path| paths.get(path).map_or_else(|| text("a file"), text);
        Some(match *report {
            Report::Registered { registry, address } => {
                Self::Registered { registry: text(registry), address: address.map(text) }
            }
            Report::RegistrationRefused { ref registry, text: reason, retry_in } => {
                registry_unreachable(registry, reason.as_str(), retry_in)
            }
            // Nobody misses it.
            Report::RegistryUnreachable { is_missed: false, .. } => return None,
            Report::RegistryUnreachable { ref registry, reason, retry_in, .. } => {
                registry_unreachable(registry, reason, retry_in)
            }
            Report::HostNotFound { ref host, ref why, retry_in: Some(retry_in), .. } => {
                registry_unreachable(host, why, retry_in)
            }
            Report::InterfaceChanged { ref change, .. } => Self::InterfaceChanged {
                name: text(&change.interface),
                address: text(change.address),
                change: text(change.happened),
            },
            Report::OfferSeen { path, peer } => Self::OfferSeen { name: name(path), peer: peer.0 },
            Report::OfferGone { path, peer } => Self::OfferGone { name: name(path), peer: peer.0 },
            Report::AlreadyThere { .. }
            | Report::Skipped { .. }
            | Report::WaitingForOffer { .. }
            | Report::WaitingForRegistry { .. }
            | Report::NearlyOffered { .. }
            | Report::DownloadStarted { .. }
            | Report::ChecksumFailed { .. }
            | Report::SourceFailed { .. }
            | Report::AllSourcesFailed { .. }
            | Report::Verified { .. }
            | Report::FetchFailed { .. }
            | Report::SavedAs { .. }
            | Report::Withdrawn { .. }
            | Report::Identical { .. }
            | Report::WaitingForMatch { .. }
            | Report::NothingMatched { .. } => return Self::of_fetch(report, name),
            Report::UploadStarted { path, to, size_bytes: bytes } => {
                Self::UploadStarted { name: name(path), address: text(to), bytes }
            }
            Report::UploadDone { path, to, size_bytes: bytes, elapsed } => {
                let (address, seconds) = (text(to), Seconds(elapsed));
                Self::UploadDone { name: name(path), address, bytes, seconds }
            }
            Report::UploadFailed { path, to, reason } => {
                Self::UploadFailed { name: name(path), address: text(to), reason: text(reason) }
            }
            Report::Verdict { path, peer, name: their_name, verdict } => {
                let verdict = match verdict {
                    Verdict::Verified => "verified",
                    Verdict::Wrong => "wrong bytes",
                    Verdict::GivenUp | Verdict::Other(_) => "given up",
                };
                let (peer, peer_name) = (peer.0, text(their_name.as_str()));
                Self::PeerVerdict { name: name(path), peer, peer_name, verdict: text(verdict) }
            }
            Report::FileShared { path } => Self::FileShared { name: name(path) },
            Report::FileChanging { path } => Self::FileChanging { name: name(path) },
            Report::FileRefused { path } => Self::FileRefused { name: name(path) },
            Report::FolderLost { why } => Self::FolderLost { reason: text(why) },
            Report::FileLost { path, error } => {
                Self::FileLost { name: name(path), reason: text(error) }
            }
            Report::Wish(ref report) => return Self::of_wish(report),
            Report::Finding(ref finding) => Self::of_finding(finding),
            Report::News(ref news) => return of_news(news),
            Report::PeerEntered { peer, address } => {
                Self::PeerEntered { peer: peer.0, address: text(address) }
            }
            Report::PeerLeft { peer, reason } => {
                Self::PeerLeft { peer: peer.0, reason: text(reason) }
            }
            Report::PeerGone { .. }
            | Report::NotShared { .. }
            | Report::IdRefused { .. }
            | Report::DatagramDropped { .. }
            | Report::ConnectionClosed { .. }
            | Report::ConnectionRefused { .. }
            | Report::ReadFailed { .. }
            | Report::LookupsFailed { .. }
            | Report::TooManyMatch { .. }
            | Report::ListeningOn
            | Report::HostNotFound { .. }
            | Report::OfferedApart { .. }
            | Report::ComesSlowly { .. }
            | Report::EntryRefused { .. } => return None,
        })
    }

    /// Returns the event of a report about a wish.
    fn of_wish(report: &WishReport) -> Option<Self> {
        Some(match report {
            WishReport::Waiting { wish, .. } => Self::Waiting { name: text(wish) },
            WishReport::Listed(listed) => Self::Listed {
                name: text(&listed.wish),
                files: listed.files,
                bytes: listed.size_bytes,
                sources: listed.sources,
                hidden: listed.hidden,
            },
            WishReport::WouldFetch { path, size_bytes, id } => {
                Self::WouldFetch { name: text(path), bytes: *size_bytes, blake3: id.map(text) }
            }
            WishReport::HashingAtSource { path, hashed_bytes, size_bytes } => {
                let (hashed_bytes, bytes) = (*hashed_bytes, *size_bytes);
                Self::HashingAtSource { name: text(path), hashed_bytes, bytes }
            }
            WishReport::Ambiguous { wish, candidates } => {
                Self::Ambiguous { name: text(wish), candidates: *candidates }
            }
            WishReport::OneOf { wish, candidate } => of_candidate(wish, candidate),
            WishReport::Fetched { path, content, from, elapsed } => {
                fetched(path, content, from, *elapsed)
            }
            WishReport::Copied { path, content } => fetched(path, content, &[], Duration::ZERO),
            WishReport::Failed { wish, error, .. } => {
                Self::Failed { name: text(wish), reason: text(error) }
            }
            WishReport::Kept { .. }
            | WishReport::PeerSilent { .. }
            | WishReport::Misplaced { .. }
            | WishReport::SameName { .. }
            | WishReport::NoSource { .. }
            | WishReport::Changed { .. }
            | WishReport::StruckOut { .. } => return None,
        })
    }

    /// Returns the event of a report about a wanted file.
    fn of_fetch(report: &Report, name: impl Fn(PathId) -> Text) -> Option<Self> {
        Some(match *report {
            Report::AlreadyThere { path } => {
                Self::AlreadyThere { name: name(path), skipped: false }
            }
            Report::Skipped { path } => Self::AlreadyThere { name: name(path), skipped: true },
            Report::WaitingForOffer { path } => Self::Waiting { name: name(path) },
            Report::WaitingForRegistry { path, peer, from, ref registry } => {
                let (from, registry) = (text(from), text(registry));
                Self::WaitingForRegistry { name: name(path), peer: peer.0, from, registry }
            }
            Report::NearlyOffered { path, offered } => {
                Self::NearlyOffered { name: name(path), offered: text(offered) }
            }
            Report::DownloadStarted { path, peer, address } => {
                Self::DownloadStarted { name: name(path), peer: peer.0, address: text(address) }
            }
            Report::ChecksumFailed { path, peer, is_simulated: simulated } => {
                Self::ChecksumFailed { name: name(path), peer: peer.0, simulated }
            }
            Report::SourceFailed { path, peer, reason, .. } => {
                let reason = reason.map_or_else(|| text("it is not known to the registry"), text);
                Self::SourceFailed { name: name(path), peer: peer.0, reason }
            }
            Report::AllSourcesFailed { path, retry_in, .. } => {
                Self::Retrying { name: name(path), retry_in: Seconds(retry_in) }
            }
            Report::Verified { path, peer, size_bytes, digest, elapsed } => {
                verified(name(path), peer, size_bytes, digest, elapsed)
            }
            Report::FetchFailed { path, error, .. } => {
                Self::Failed { name: name(path), reason: text(error) }
            }
            Report::SavedAs { wanted, path } => {
                Self::SavedAs { name: name(path), wanted: name(wanted) }
            }
            Report::Withdrawn { path } => Self::Withdrawn { name: name(path) },
            Report::Identical { path } => Self::Identical { name: name(path) },
            Report::WaitingForMatch { ref pattern, nearly } => {
                Self::WaitingForMatch { pattern: text(pattern), nearly: nearly.map(text) }
            }
            Report::NothingMatched { ref pattern } => {
                Self::NothingMatched { pattern: text(pattern) }
            }
            _ => return None,
        })
    }
}

fn of_news(news: &News) -> Option<Event> {
    Some(match *news {
        News::Waiting(name) => Event::Waiting { name: text(name) },
        News::Offered(_) => return None,
        News::Present(name) => Event::AlreadyThere { name: text(name), skipped: false },
        News::Verified(Fetched { name, peer, size_bytes, digest, elapsed }) => {
            verified(text(name), peer, size_bytes, digest, elapsed)
        }
        News::Failed { name, ref reason, .. } => {
            Event::Failed { name: text(name), reason: text(reason) }
        }
    })
}

fn verified(name: Text, peer: PeerId, bytes: u64, digest: Digest, elapsed: Duration) -> Event {
    let (peer, seconds, sha256) = (peer.0, Seconds(elapsed), Some(text(digest)));
    Event::Verified { name, peer, bytes, seconds, sha256, blake3: None, sources: 1 }
}

/// Returns the event of a file that came by version 1.
fn fetched(path: &FilePath, content: &Content, from: &[Giver], elapsed: Duration) -> Event {
    Event::Verified {
        name: text(path),
        peer: from.first().map_or(0, |giver| giver.peer.0),
        bytes: content.size_bytes,
        seconds: Seconds(elapsed),
        sha256: None,
        blake3: Some(text(content.id)),
        sources: from.len(),
    }
}

fn of_candidate(wish: &str, candidate: &Candidate) -> Event {
    let (bytes, modified_ns, id) = match candidate.state {
        Some(EntryState::File { content, modified_ns, .. }) => {
            (Some(content.size_bytes), Some(modified_ns), Some(content.id))
        }
        Some(EntryState::Unhashed { size_bytes, modified_ns, .. }) => {
            (Some(size_bytes), Some(modified_ns), None)
        }
        _ => (None, None, None),
    };
    Event::Candidate {
        name: text(wish),
        path: text(&candidate.path),
        peer: candidate.peer.peer.0,
        peer_name: text(candidate.peer.name.as_str()),
        address: text(candidate.address),
        bytes,
        modified: modified_ns.map(|ns| text(Time(ns))),
        blake3: id.map(text),
    }
}

fn registry_unreachable(registry: impl Display, reason: impl Display, retry_in: Duration) -> Event {
    let (registry, reason) = (text(registry), text(reason));
    Event::RegistryUnreachable { registry, reason, retry_in: Seconds(retry_in) }
}
