//! Moves the sockets when the addresses of this machine have changed.
//!
//! A failure is tried again and again, and told once for each kind: another one is told again,
//! and so is the same one after a success.

use std::io;
use std::net::SocketAddrV4;

use super::{BroadcastSocket, LISTENER, Listener, Reactor, broken};
use crate::node::{Input, Node};

impl<N: Node> Reactor<N> {
    /// Tells the node which addresses are used, if it is to know.
    pub(super) fn tell_interfaces(&mut self) {
        if self.network.is_told() {
            let used = self.network.used().to_vec();
            self.handle(Input::Interfaces(&used));
        }
    }

    /// Uses the addresses that there are now, if they were read anew.
    pub(super) fn follow_network(&mut self) {
        if !self.network.look(self.now) {
            return;
        }
        let set = |socket: &mut Option<BroadcastSocket>, routes: &[_]| {
            let sends = socket.as_mut().filter(|socket| socket.sends());
            sends.map_or(Ok(()), |socket| socket.set_routes(routes))
        };
        let offers = set(&mut self.offers, &self.network.routes());
        let beacons = set(&mut self.beacons, &self.network.beacon_routes());
        match offers.and(beacons) {
            Err(error) => {
                if self.routes_error.replace(error.kind()) != Some(error.kind()) {
                    log::warn!("cannot send offers on every interface: {error}; trying again");
                }
                self.network.retry(self.now);
            }
            Ok(()) => self.routes_error = None,
        }
        self.move_listener();
        self.tell_interfaces();
        self.move_connections();
    }

    /// Listens where it is to listen now.
    fn move_listener(&mut self) {
        if let (Some(listener), Some(host)) = (&self.listener, self.network.host())
            && *listener.address().ip() != host
        {
            self.listen_at = Some(SocketAddrV4::new(host, listener.address().port()));
            // First: it may stand in the way of the other one.
            self.listener = None;
        }
        let Some(mut address) = self.listen_at else { return };
        if let Some(host) = self.network.host() {
            address.set_ip(host);
        }
        match self.listen(address) {
            Ok(listener) => {
                (self.listener, self.listen_at) = (Some(listener), None);
                self.listen_error = None;
            }
            Err(error) => {
                let failure = (address, error.kind());
                if self.listen_error.replace(failure) != Some(failure) {
                    log::warn!("cannot listen on {address}: {error}; trying again");
                }
                self.listen_at = Some(address);
                self.network.retry(self.now);
            }
        }
    }

    fn listen(&self, address: SocketAddrV4) -> io::Result<Listener> {
        let listener = Listener::bind(address, self.progress_timeout)?;
        listener.register(self.poll.registry(), LISTENER)?;
        Ok(listener)
    }

    /// Breaks the connections whose address of ours is gone, and tells of those that would be
    /// made from another one now.
    fn move_connections(&mut self) {
        let (mut gone, mut rerouted) = (Vec::new(), Vec::new());
        for (id, connection) in self.connections.iter() {
            let Some(from) = connection.from() else { continue };
            if self.network.is_gone(from) {
                gone.push(id);
            } else if connection.made_to().is_some_and(|to| self.network.is_rerouted(from, to)) {
                rerouted.push(id);
            }
        }
        for id in gone {
            if self.connections.remove(id).is_some() {
                self.handle(broken(id, io::ErrorKind::AddrNotAvailable));
            }
        }
        for id in rerouted {
            self.handle(Input::Rerouted(id));
        }
    }
}
