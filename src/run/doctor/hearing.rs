//! Sends one datagram on each interface and counts what is heard on the offer port.
//!
//! A datagram is taken to have come in on the interface in whose network its sender is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::findings::{InterfaceFinding, PeerFinding, PeerPlace};
use crate::limits::{DOCTOR_LISTENS_LONGER, OFFER_BYTES, PROBED_PEERS_MAX, TEXT_FIELD_BYTES};
use crate::reactor::probe::OfferProbe;
use crate::run::network::{Interface, Place};
use crate::wire::PeerId;
use crate::wire::v0::{FileName, Offer};

/// What was heard so far.
pub(super) struct Hearing {
    interfaces: Vec<Heard>,
    peers: BTreeMap<PeerId, PeerFinding>,
    datagram: [u8; OFFER_BYTES],
}

struct Heard {
    interface: Interface,
    /// Where our datagram goes, and why it did not.
    to: Option<SocketAddrV4>,
    error: Option<io::Error>,
    is_heard_back: bool,
    offers: u64,
    peers: BTreeSet<PeerId>,
}

impl Hearing {
    pub(super) fn new(place: &Place) -> Self {
        let heard = |(interface, to): (&Interface, _)| Heard {
            interface: interface.clone(),
            to,
            error: None,
            is_heard_back: false,
            offers: 0,
            peers: BTreeSet::new(),
        };
        Self {
            interfaces: place.routes().map(heard).collect(),
            peers: BTreeMap::new(),
            datagram: datagram(fastrand::u32(..)),
        }
    }

    /// Listens a little longer than the interval in which each peer repeats its offers.
    pub(super) fn hear(&mut self, socket: Option<&OfferProbe>, offer_interval: Duration) {
        let Some(socket) = socket else {
            let error = || Some(io::Error::other("the offer port is not ours"));
            return self.interfaces.iter_mut().for_each(|heard| heard.error = error());
        };
        let deadline = Instant::now() + offer_interval + DOCTOR_LISTENS_LONGER;
        for heard in &mut self.interfaces {
            let from = heard.interface.address;
            let sent = heard.to.map(|to| OfferProbe::send(from, to, &self.datagram));
            heard.error = sent.and_then(Result::err);
        }
        let mut buffer = [0; OFFER_BYTES + 1];
        while let Some((len, from)) = socket.receive(deadline, &mut buffer) {
            self.on_datagram(*from.ip(), &buffer[..len]);
        }
    }

    fn on_datagram(&mut self, from: Ipv4Addr, bytes: &[u8]) {
        if bytes == self.datagram {
            let ours = self.interfaces.iter_mut().find(|heard| heard.interface.address == from);
            ours.into_iter().for_each(|heard| heard.is_heard_back = true);
            return;
        }
        let Ok(offer) = Offer::decode(bytes) else { return };
        let near = self.interfaces.iter_mut().find(|heard| heard.interface.subnet.contains(from));
        if self.peers.len() < PROBED_PEERS_MAX || self.peers.contains_key(&offer.peer) {
            let peer = self.peers.entry(offer.peer).or_insert_with(|| PeerFinding {
                id: offer.peer,
                from,
                offers: 0,
                place: PeerPlace::NotTold,
            });
            peer.offers += 1;
        }
        if let Some(heard) = near {
            heard.offers += 1;
            if self.peers.contains_key(&offer.peer) {
                heard.peers.insert(offer.peer);
            }
        }
    }

    pub(super) fn into_findings(self) -> (Vec<InterfaceFinding>, Vec<PeerFinding>) {
        let finding = |heard: Heard| InterfaceFinding {
            interface: heard.interface,
            to: heard.to,
            error: heard.error,
            is_heard_back: heard.is_heard_back,
            offers: heard.offers,
            peers: heard.peers.len(),
        };
        let interfaces = self.interfaces.into_iter().map(finding).collect();
        (interfaces, self.peers.into_values().collect())
    }
}

/// As long as an offer and laid out like one, but dropped by each of our peers.
fn datagram(number: u32) -> [u8; OFFER_BYTES] {
    let name = FileName::new("_p2pfs-doctor").expect("a legal name");
    let mut datagram = Offer { peer: PeerId(number), name }.encode();
    datagram[OFFER_BYTES - TEXT_FIELD_BYTES] = b'.';
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Malformed;
    use crate::wire::v0::NameError;

    #[test]
    fn our_datagram_is_no_offer_to_us() {
        let dropped = Err(Malformed::Name(NameError::LeadingDot));
        assert_eq!(Offer::decode(&datagram(7)).map(|_| ()), dropped);
    }
}
