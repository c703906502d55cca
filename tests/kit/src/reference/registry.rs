//! The reference's registry.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex};

use super::{Note, Notes, Part, RECEIVE_BYTES};
use crate::messages;
use crate::{Server, await_until};

/// A registry that runs until it is dropped.
pub struct ReferenceRegistry {
    pub address: SocketAddrV4,
    pub notes: Notes,
    entries: Arc<Entries>,
    _server: Server,
}

/// Peer ids and the ports they listen on.
type Entries = Mutex<BTreeMap<u32, u32>>;

impl ReferenceRegistry {
    pub fn start() -> Self {
        let (notes, entries) = (Notes::default(), Arc::new(Entries::default()));
        let server = Server::start({
            let (notes, entries) = (notes.clone(), Arc::clone(&entries));
            move |stream, _| serve(stream, &entries, &notes)
        });
        Self { address: server.address, notes, entries, _server: server }
    }

    /// The port that is entered for a peer.
    pub fn port_of(&self, peer: u32) -> Option<u32> {
        self.entries.lock().unwrap().get(&peer).copied()
    }

    #[track_caller]
    pub fn await_entry(&self, peer: u32, there: bool) {
        await_until(&format!("peer {peer} has an entry: {there}"), || {
            self.port_of(peer).is_some() == there
        });
    }
}

fn serve(mut stream: &TcpStream, entries: &Entries, notes: &Notes) {
    let mut ours = None;
    let mut received = [0; RECEIVE_BYTES];
    loop {
        let request = match stream.read(&mut received) {
            Ok(0) => return notes.add(Note::WouldSpin(Part::Registry)),
            Ok(len) => &received[..len],
            Err(_) => {
                // The id of a refused registration counts too: its first holder is
                // forgotten.
                if let Some(peer) = ours {
                    entries.lock().unwrap().remove(&peer);
                }
                return notes.add(Note::Reset(Part::Registry));
            }
        };
        let answer = match (request.get(..2), request.len()) {
            (Some(b"SR"), 10) => {
                let (peer, port) = (messages::int(request, 2), messages::int(request, 6));
                ours = Some(peer);
                register(&mut entries.lock().unwrap(), peer, port)
            }
            (Some(b"SL"), 6) => lookup(&entries.lock().unwrap(), messages::int(request, 2)),
            // The thread of a connection dies of what it does not know: no harm, if that is all
            // that was said there.
            (Some(b"SP"), 10) if ours.is_none() => return,
            _ => return notes.add(Note::Died(Part::Registry, "not one request in one receive")),
        };
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

fn register(entries: &mut BTreeMap<u32, u32>, peer: u32, port: u32) -> Vec<u8> {
    if entries.contains_key(&peer) {
        return messages::error_response("Existing peer ID");
    }
    if entries.values().any(|taken| *taken == port) {
        return messages::error_response("Existing port");
    }
    entries.insert(peer, port);
    messages::register_response(1)
}

fn lookup(entries: &BTreeMap<u32, u32>, peer: u32) -> Vec<u8> {
    match entries.get(&peer) {
        Some(port) => messages::lookup_response("localhost", *port),
        None => messages::error_response("Target peer not found."),
    }
}
