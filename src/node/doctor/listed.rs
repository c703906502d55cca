//! Peers of version 1 that the registry lists. It is asked on a connection of its own, which one of
//! version 0 may close; those that no beacon came from are dialed at the end, beside the others.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::findings::{ListedFinding, SessionFinding};
use super::sessions::Target;
use super::{Connection, DoctorNode};
use crate::limits::{LISTING_TIMEOUT, Limits, PROBED_PEERS_MAX};
use crate::node::ConnectionId;
use crate::proto::v0::{Registration, RegistrationEvent};
use crate::proto::{CloseReason, Timer};
use crate::wire::PeerId;
use crate::wire::v0::ListedPeer;
use crate::wire::v1::PeerName;

impl DoctorNode {
    /// Asks the registry, which has just answered, for peers of version 1.
    pub(super) fn ask_for_peers(&mut self, now: Instant) {
        let limits = Limits { answer_timeout: LISTING_TIMEOUT, ..Limits::PROBE };
        let mut question = Registration::guest(now, &Rc::new(limits));
        question.ask_peers(now, PeerId(0));
        if let Some(to) = self.findings.registry.address {
            self.dial(now, Connection::Listing(question), to);
        }
    }

    /// Takes in what came on that connection. Returns whether it is that one.
    pub(super) fn on_listing_bytes(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        bytes: &[u8],
    ) -> bool {
        let Some(Connection::Listing(question)) = self.connections.get_mut(connection) else {
            return false;
        };
        match question.handle_bytes(now, bytes, &mut 0) {
            Ok(Some(RegistrationEvent::Peers { peers, .. })) => {
                self.findings.listing = Some(Ok(peers.len()));
                self.findings.listed = peers.iter().filter_map(finding).collect();
                self.findings.listed.truncate(PROBED_PEERS_MAX);
                self.connections.remove(connection);
                self.reset(connection, CloseReason::Done);
            }
            Ok(_) => self.after(now, connection),
            Err(reason) => self.close(now, connection, reason),
        }
        true
    }

    /// It does not list any.
    pub(super) fn on_listing_lost(&mut self, reason: CloseReason) {
        self.findings.listing = Some(Err(reason));
    }

    /// Leaves out those of which beacons were heard, or that are here under another id. Returns
    /// how many are to be dialed, and puts them in line.
    pub(super) fn line_up_listed(&mut self) -> usize {
        let is_heard = |listed: &ListedFinding| {
            self.beaconing.heard.values().any(|heard| match heard.session {
                SessionFinding::At(address, _) => address == listed.address,
                _ => heard.id == listed.id,
            })
        };
        let mut listed = std::mem::take(&mut self.findings.listed);
        listed.retain(|listed| !is_heard(listed));
        let line = listed.iter().enumerate();
        let line = line.map(|(number, listed)| (Target::Listed(number), listed.address));
        self.beaconing.line_up(line);
        self.findings.listed = listed;
        self.findings.listed.len()
    }

    /// The dial of one of them has ended.
    pub(super) fn on_listed(&mut self, number: usize, outcome: Result<Duration, CloseReason>) {
        if let Some(listed) = self.findings.listed.get_mut(number) {
            listed.session = outcome;
        }
    }
}

/// Returns what is known of a listed peer; `None` if it cannot be reached by IPv4.
fn finding(listed: &ListedPeer) -> Option<ListedFinding> {
    let SocketAddr::V4(address) = listed.address else { return None };
    let session = Err(CloseReason::TimedOut(Timer::Connect));
    Some(ListedFinding { id: listed.peer, name: PeerName::none(), address, session })
}
