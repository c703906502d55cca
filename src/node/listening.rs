//! Who only listens: hears what is on offer, and says and asks nothing.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::catalog::Catalog;
use super::{Action, ConnectionId, Input, Node, Outcome};
use crate::proto::Transmit;
use crate::wire::v0::Offer;

/// Hears offers, and ends when its time has come. It can be run again after that.
#[derive(Debug)]
pub struct ListNode {
    catalog: Catalog,
    /// Where offers have to come from; from anywhere if there is none.
    subnets: Vec<Subnet>,
    until: Instant,
    exit: Option<Outcome>,
}

/// Something on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardOffer {
    /// What, and who offers it.
    pub offer: Offer,
    /// Where the last datagram came from.
    pub from: SocketAddrV4,
    /// When it came.
    pub heard_at: Instant,
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// One of them.
    pub address: Ipv4Addr,
    /// How many bits, 32 at most.
    pub prefix_len: u8,
}

impl Subnet {
    /// Whether this is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let differs = u32::from(self.address) ^ u32::from(address);
        differs.leading_zeros() >= self.prefix_len.into()
    }
}

impl From<(Offer, SocketAddrV4, Instant)> for HeardOffer {
    fn from((offer, from, heard_at): (Offer, SocketAddrV4, Instant)) -> Self {
        Self { offer, from, heard_at }
    }
}

impl ListNode {
    /// Listens until then to these networks, or all if there is none; an offer that is not
    /// repeated is forgotten after `expiry`.
    pub fn new(until: Instant, expiry: Duration, subnets: Vec<Subnet>) -> Self {
        Self { catalog: Catalog::new(expiry), subnets, until, exit: None }
    }

    /// Listens on until then.
    pub fn listen_until(&mut self, until: Instant) {
        self.until = until;
    }

    /// What is on offer, by name and then by peer.
    pub fn offers(&self) -> impl Iterator<Item = HeardOffer> {
        self.catalog.offers().map(HeardOffer::from)
    }
}

impl Node for ListNode {
    fn accept(&mut self, _: Instant, _: SocketAddrV4) -> Option<ConnectionId> {
        None
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => {
                let is_near = |subnet: &Subnet| subnet.contains(*from.ip());
                let counts = self.subnets.is_empty() || self.subnets.iter().any(is_near);
                if counts && let Ok(offer) = Offer::decode(bytes) {
                    self.catalog.hear(now, from, offer);
                }
            }
            Input::Stop(signal) => self.exit = Some(Outcome::Stopped(signal)),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.until {
            self.catalog.expire(now);
            self.exit = self.exit.take().or(Some(Outcome::AllDone));
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.until)
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.exit.take().map(Action::Exit)
    }

    fn transmit(&self, _: ConnectionId) -> Option<Transmit<'_>> {
        None
    }

    fn transmitted(&mut self, _: Instant, _: ConnectionId, _: usize) {}

    fn read_allowance_bytes(&self, _: ConnectionId) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Signal;
    use crate::wire::PeerId;
    use crate::wire::v0::FileName;

    #[test]
    fn it_lists_what_it_heard_until_its_time_and_forgets_what_is_not_repeated() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut node = ListNode::new(at(6), Duration::from_secs(15), Vec::new());
        let from = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let offer = |peer, name| Offer { peer: PeerId(peer), name: FileName::new(name).unwrap() };
        let [a, b] = [offer(2, "a"), offer(1, "b")];
        for (second, offer, port) in [(1, b, 1), (2, a, 2), (3, b, 3)] {
            let bytes = offer.encode();
            node.handle(at(second), Input::Datagram { from: from(port), bytes: &bytes });
        }
        node.handle(at(3), Input::Datagram { from: from(4), bytes: b"junk" });
        node.handle_timeout(at(5));
        assert_eq!((node.poll_action(), node.poll_timeout()), (None, Some(at(6))));
        node.handle_timeout(at(6));
        assert_eq!(node.poll_action(), Some(Action::Exit(Outcome::AllDone)));
        let heard =
            |offer, port, second| HeardOffer { offer, from: from(port), heard_at: at(second) };
        assert_eq!(node.offers().collect::<Vec<_>>(), [heard(a, 2, 2), heard(b, 3, 3)]);
        node.listen_until(at(17));
        node.handle_timeout(at(17));
        assert_eq!(node.poll_action(), Some(Action::Exit(Outcome::AllDone)));
        assert_eq!(node.offers().collect::<Vec<_>>(), [heard(b, 3, 3)]);
        node.handle(at(17), Input::Stop(Signal::Interrupt));
        assert_eq!(node.poll_action(), Some(Action::Exit(Outcome::Stopped(Signal::Interrupt))));
    }

    #[test]
    fn only_the_networks_that_are_asked_for_count() {
        let start = Instant::now();
        let subnet = Subnet { address: Ipv4Addr::new(10, 78, 0, 1), prefix_len: 23 };
        let mut node = ListNode::new(start, Duration::from_secs(15), vec![subnet]);
        let name = FileName::new("a").unwrap();
        for (peer, host) in [(1, [10, 78, 1, 255]), (2, [10, 78, 2, 0]), (3, [10, 78, 0, 0])] {
            let bytes = Offer { peer: PeerId(peer), name }.encode();
            let from = SocketAddrV4::new(host.into(), 8000);
            node.handle(start, Input::Datagram { from, bytes: &bytes });
        }
        let peers: Vec<_> = node.offers().map(|heard| heard.offer.peer.0).collect();
        assert_eq!(peers, [1, 3]);
        let all = Subnet { prefix_len: 0, ..subnet };
        assert!(all.contains(Ipv4Addr::LOCALHOST));
    }
}
