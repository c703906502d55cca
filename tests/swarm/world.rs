//! Many hosts, and what happens to them in the order of its time.

use std::io::ErrorKind;
use std::rc::Rc;

use kit::runner::Runner;
use p2pfs::node::Input;

use crate::contents::Contents;
use crate::host::{At, Host, Outside, Plan};
use crate::links::{HostIndex, Links, StreamIndex};
use crate::queue::Event;

/// What a datagram has around its bytes.
const DATAGRAM_HEADERS_BYTES: usize = 28;

pub(crate) struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) out: Outside,
    /// Events so far.
    pub(crate) steps: u64,
    seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64, plans: &[Plan], contents: Contents, delay_ns: u64) -> Self {
        let rates: Vec<_> = plans.iter().map(|plan| plan.rates).collect();
        let mut out = Outside::new(Links::new(&rates, delay_ns), contents);
        let host = |(index, plan): (HostIndex, &Plan)| Host::new(index, plan.clone());
        let hosts: Vec<_> = plans.iter().enumerate().map(host).collect();
        for host in &hosts {
            out.by_address.insert(*host.address.ip(), host.index);
            out.queue.put(host.plan.starts_at_ns, Event::Start(host.index));
            if let Some(at_ns) = host.plan.leaves_at_ns {
                out.queue.put(at_ns, Event::Leave(host.index));
            }
        }
        Self { hosts, out, steps: 0, seed }
    }

    /// Takes the next event. Returns `false` if nothing will ever happen.
    pub(crate) fn step(&mut self) -> bool {
        let Some((at_ns, event)) = self.out.queue.take() else { return false };
        self.out.now_ns = at_ns;
        self.steps += 1;
        match event {
            Event::Start(host) => {
                let seed = self.seed << 32;
                At { host: &mut self.hosts[host], out: &mut self.out }.start(seed);
            }
            Event::Leave(host) => At { host: &mut self.hosts[host], out: &mut self.out }.leave(),
            Event::Wake(host) => self.on(host, |at| at.ring()),
            Event::Hashed(host, path) => self.on(host, |at| at.tell_hash(path)),
            Event::Syn(stream) => self.on_syn(stream),
            Event::Answer { stream, is_taken } => self.on_answer(stream, is_taken),
            Event::Sent { host, stream, from, len_bytes } => {
                let at = (&mut self.out.queue, at_ns);
                self.out.links.on_sent(at, host, (stream, from), len_bytes);
                self.on(host, |at| at.has_sent(stream, from));
            }
            Event::Arrived { stream, from, len_bytes } => {
                let at = (&mut self.out.queue, at_ns);
                let arrived = self.out.links.on_arrived(at, (stream, from), len_bytes);
                if let Some((host, id)) = arrived {
                    self.on(host, |at| {
                        at.read(id);
                        at.settle();
                    });
                }
            }
            Event::Reset { stream, side } => self.on_reset(stream, side),
            Event::Beacon { from, bytes } => self.on_beacon(from, &bytes),
        }
        true
    }

    /// Does something with a host, if it is there.
    fn on(&mut self, host: HostIndex, what: impl FnOnce(&mut At<'_>)) {
        let host = &mut self.hosts[host];
        if host.held.is_some() {
            what(&mut At { host, out: &mut self.out });
        }
    }

    fn on_syn(&mut self, index: StreamIndex) {
        let Some(stream) = self.out.links.stream(index) else { return };
        let [from, to] = stream.hosts;
        if !self.hosts[to].plan.is_dialable {
            return;
        }
        let mut id = None;
        let from = self.hosts[from].address;
        self.on(to, |at| id = at.accept(from, (index, 1)));
        if let Some(stream) = self.out.links.stream(index) {
            (stream.ids[1], stream.is_made) = (id, id.is_some());
        }
        let is_taken = id.is_some();
        self.out.put_after(self.out.links.delay_ns, Event::Answer { stream: index, is_taken });
        self.on(to, |at| at.settle());
    }

    fn on_answer(&mut self, index: StreamIndex, is_taken: bool) {
        let Some(stream) = self.out.links.stream(index) else { return };
        let (host, Some(id)) = (stream.hosts[0], stream.ids[0]) else { return };
        self.on(host, |at| {
            at.feed(match is_taken {
                true => Input::Connected(id),
                false => Input::Broken { connection: id, kind: ErrorKind::ConnectionRefused },
            });
            at.settle();
        });
    }

    fn on_reset(&mut self, index: StreamIndex, side: usize) {
        let Some(stream) = self.out.links.stream(index) else { return };
        let (host, Some(connection)) = (stream.hosts[side], stream.ids[side]) else { return };
        self.on(host, |at| {
            at.feed(Input::Broken { connection, kind: ErrorKind::ConnectionReset });
            at.settle();
        });
    }

    fn on_beacon(&mut self, from: HostIndex, bytes: &Rc<[u8]>) {
        let address = self.hosts[from].address;
        for to in (0..self.hosts.len()).filter(|to| *to != from) {
            let now_ns = self.out.now_ns;
            self.out.links.carry_down(to, now_ns, bytes.len() + DATAGRAM_HEADERS_BYTES);
            self.on(to, |at| {
                at.feed(Input::Beacon { from: address, bytes });
                at.settle();
            });
        }
    }
}
