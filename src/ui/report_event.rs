//! Turns a report into an event.

use std::fmt::Display;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::events::Event;
use super::json::{Seconds, text};
use crate::node::Report;

impl Event {
    /// Returns the event of a report. Reports about faults of other peers have none, nor have
    /// those that repeat what another event says.
    pub fn of_report(report: &Report) -> Option<Self> {
        Some(match report {
            Report::Registered { registry } => Self::Registered { registry: text(registry) },
            Report::RegistrationRefused { registry, text: reason, retry_in } => {
                registry_unreachable(registry, reason.as_str(), *retry_in)
            }
            Report::RegistryUnreachable { registry, reason, retry_in, .. } => {
                registry_unreachable(registry, reason, *retry_in)
            }
            Report::OfferSeen { name, peer } => Self::OfferSeen { name: text(name), peer: peer.0 },
            Report::OfferGone { name, peer } => Self::OfferGone { name: text(name), peer: peer.0 },
            Report::AlreadyThere { name } => Self::AlreadyThere { name: text(name) },
            Report::WaitingForOffer { name } => Self::Waiting { name: text(name) },
            Report::DownloadStarted { name, peer, address } => {
                Self::DownloadStarted { name: text(name), peer: peer.0, address: text(address) }
            }
            Report::ChecksumFailed { name, peer, is_simulated } => {
                Self::ChecksumFailed { name: text(name), peer: peer.0, simulated: *is_simulated }
            }
            Report::SourceFailed { name, peer, reason } => {
                let reason =
                    reason.as_ref().map_or_else(|| text("it is not known to the registry"), text);
                Self::SourceFailed { name: text(name), peer: peer.0, reason }
            }
            Report::AllSourcesFailed { name, retry_in } => {
                Self::Retrying { name: text(name), retry_in: Seconds(*retry_in) }
            }
            Report::Verified { name, peer, size_bytes, digest, elapsed } => Self::Verified {
                name: text(name),
                peer: peer.0,
                bytes: *size_bytes,
                seconds: Seconds(*elapsed),
                sha256: text(digest),
            },
            Report::WishFailed { name, error } => {
                Self::Failed { name: text(name), reason: text(error) }
            }
            Report::SavedAs { wanted, name } => {
                Self::SavedAs { name: text(name), wanted: text(wanted) }
            }
            Report::Identical { name } => Self::Identical { name: text(name) },
            Report::NothingMatched { pattern } => Self::NothingMatched { pattern: text(pattern) },
            Report::UploadStarted { name, to, size_bytes } => {
                Self::UploadStarted { name: text(name), address: text(to), bytes: *size_bytes }
            }
            Report::UploadDone { name, to, size_bytes, elapsed } => Self::UploadDone {
                name: text(name),
                address: text(to),
                bytes: *size_bytes,
                seconds: Seconds(*elapsed),
            },
            Report::UploadFailed { name, to, reason } => {
                Self::UploadFailed { name: text(name), address: text(to), reason: text(reason) }
            }
            Report::FileShared { name } => Self::FileShared { name: text(name) },
            Report::FileChanging { name } => Self::FileChanging { name: text(name) },
            Report::FileRefused { name } => Self::FileRefused { name: text(name) },
            Report::FolderLost => Self::FolderLost {},
            Report::FileLost { name, error } => {
                Self::FileLost { name: text(name), reason: text(error) }
            }
            Report::Finding(finding) => Self::of_finding(finding),
            Report::PeerEntered { peer, address } => {
                Self::PeerEntered { peer: peer.0, address: text(address) }
            }
            Report::PeerLeft { peer, reason } => {
                Self::PeerLeft { peer: peer.0, reason: text(reason) }
            }
            Report::PeerGone { .. }
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
