//! Turns a report into an event.

use std::fmt::Display;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::events::Event;
use super::json::{Seconds, text};
use crate::node::{Paths, Report};
use crate::proto::control::News;
use crate::wire::control::Fetched;

impl Event {
    /// Returns the event of a report. Reports about faults of other peers have none, nor have
    /// those that repeat what another event says.
    pub fn of_report(report: &Report, paths: &Paths) -> Option<Self> {
        let shown = |path| paths.get(path).map_or_else(|| text("a file"), text);
        Some(match report {
            Report::Registered { registry } => Self::Registered { registry: text(registry) },
            Report::RegistrationRefused { registry, text: reason, retry_in } => {
                registry_unreachable(registry, reason.as_str(), *retry_in)
            }
            Report::RegistryUnreachable { registry, reason, retry_in, .. } => {
                registry_unreachable(registry, reason, *retry_in)
            }
            Report::OfferSeen { path, peer } => {
                Self::OfferSeen { name: shown(*path), peer: peer.0 }
            }
            Report::OfferGone { path, peer } => {
                Self::OfferGone { name: shown(*path), peer: peer.0 }
            }
            Report::AlreadyThere { path } => Self::AlreadyThere { name: shown(*path) },
            Report::WaitingForOffer { path } => Self::Waiting { name: shown(*path) },
            Report::DownloadStarted { path, peer, address } => {
                Self::DownloadStarted { name: shown(*path), peer: peer.0, address: text(address) }
            }
            Report::ChecksumFailed { path, peer, is_simulated } => {
                Self::ChecksumFailed { name: shown(*path), peer: peer.0, simulated: *is_simulated }
            }
            Report::SourceFailed { path, peer, reason } => {
                let reason =
                    reason.as_ref().map_or_else(|| text("it is not known to the registry"), text);
                Self::SourceFailed { name: shown(*path), peer: peer.0, reason }
            }
            Report::AllSourcesFailed { path, retry_in } => {
                Self::Retrying { name: shown(*path), retry_in: Seconds(*retry_in) }
            }
            Report::Verified { path, peer, size_bytes, digest, elapsed } => Self::Verified {
                name: shown(*path),
                peer: peer.0,
                bytes: *size_bytes,
                seconds: Seconds(*elapsed),
                sha256: text(digest),
            },
            Report::FetchFailed { path, error } => {
                Self::Failed { name: shown(*path), reason: text(error) }
            }
            Report::SavedAs { wanted, path } => {
                Self::SavedAs { name: shown(*path), wanted: shown(*wanted) }
            }
            Report::Identical { path } => Self::Identical { name: shown(*path) },
            Report::NothingMatched { pattern } => Self::NothingMatched { pattern: text(pattern) },
            Report::UploadStarted { path, to, size_bytes } => {
                Self::UploadStarted { name: shown(*path), address: text(to), bytes: *size_bytes }
            }
            Report::UploadDone { path, to, size_bytes, elapsed } => Self::UploadDone {
                name: shown(*path),
                address: text(to),
                bytes: *size_bytes,
                seconds: Seconds(*elapsed),
            },
            Report::UploadFailed { path, to, reason } => {
                Self::UploadFailed { name: shown(*path), address: text(to), reason: text(reason) }
            }
            Report::FileShared { path } => Self::FileShared { name: shown(*path) },
            Report::FileChanging { path } => Self::FileChanging { name: shown(*path) },
            Report::FileRefused { path } => Self::FileRefused { name: shown(*path) },
            Report::FolderLost => Self::FolderLost {},
            Report::FileLost { path, error } => {
                Self::FileLost { name: shown(*path), reason: text(error) }
            }
            Report::Finding(finding) => Self::of_finding(finding),
            Report::News(news) => match &**news {
                News::Waiting(name) => Self::Waiting { name: text(name) },
                News::Offered(_) => return None,
                News::Present(name) => Self::AlreadyThere { name: text(name) },
                News::Verified(Fetched { name, peer, size_bytes, digest, elapsed }) => {
                    Self::Verified {
                        name: text(name),
                        peer: peer.0,
                        bytes: *size_bytes,
                        seconds: Seconds(*elapsed),
                        sha256: text(digest),
                    }
                }
                News::Failed { name, reason, .. } => {
                    Self::Failed { name: text(name), reason: text(reason) }
                }
            },
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
            | Report::EntryRefused { .. } => return None,
        })
    }
}

fn registry_unreachable(
    registry: &SocketAddrV4,
    reason: impl Display,
    retry_in: Duration,
) -> Event {
    let (registry, reason) = (text(registry), text(reason));
    Event::RegistryUnreachable { registry, reason, retry_in: Seconds(retry_in) }
}
