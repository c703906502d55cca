//! Programs of the same user that ask a peer for files, in the place of the user. Their
//! control socket loses nothing; what it carries is cut anywhere.

use p2pfs::node::{ConnectionId, Input};
use p2pfs::proto::control::{Ask, Inquiry};
use p2pfs::proto::{CloseReason, Transmit};
use p2pfs::wire::v0::FileName;

use crate::host::Host;
use crate::outside::Outside;

/// A program that waits for a file.
pub(crate) struct Client {
    inquiry: Inquiry,
    name: FileName,
}

impl Host {
    /// The user wants a file, and has a program ask for it.
    pub(crate) fn ask_for(&mut self, out: &mut Outside, name: FileName) {
        let now = out.now();
        let id = self.process_mut().program.node_mut().accept_program(now).expect("a place");
        self.drain(out, &[]);
        let mut inquiry = Inquiry::new(now, Ask::Want([name].into()));
        inquiry.handle_connected(now);
        let Some(Transmit::Bytes { bytes, .. }) = inquiry.transmit() else {
            panic!("asks nothing");
        };
        let bytes = bytes.to_vec();
        inquiry.transmitted(bytes.len());
        self.process_mut().programs.insert(id, Client { inquiry, name });
        let cut = out.rng.usize(1..bytes.len());
        for bytes in [&bytes[..cut], &bytes[cut..]] {
            self.feed(out, Input::Received { connection: id, bytes });
        }
    }

    /// Sends the next piece to a program; whether there may be more to send.
    pub(crate) fn pump_program(&mut self, out: &mut Outside, id: ConnectionId) -> bool {
        let now = out.now();
        let process = self.process_mut();
        let Some(client) = process.programs.get_mut(&id) else { return false };
        let Some(Transmit::Bytes { bytes, .. }) = process.program.node().transmit(id) else {
            return false;
        };
        let piece = &bytes[..out.rng.usize(1..=bytes.len())];
        let (len, mut at) = (piece.len(), 0);
        while let Some(reply) = client.inquiry.handle_bytes(now, piece, &mut at).expect("an answer")
        {
            out.note(|| format!("a program is told {reply:?}"));
        }
        process.program.node_mut().transmitted(now, id, len);
        self.drain(out, &[]);
        true
    }

    /// The connection of a program is closed.
    pub(crate) fn close_program(&mut self, id: ConnectionId, reason: CloseReason) {
        let client = self.process_mut().programs.remove(&id).expect("a program that is there");
        let is_done = client.inquiry.is_done();
        let is_cut = matches!(reason, CloseReason::Evicted | CloseReason::Stopping);
        assert!(is_done || is_cut, "{reason:?} before it is told of {}", client.name);
    }

    /// All that is to be told is told: nobody waits for a file that has its end.
    pub(crate) fn check_programs(&mut self) {
        let process = self.process_mut();
        for name in process.ended.drain(..) {
            let waits = |client: &Client| client.name == name && !client.inquiry.is_done();
            assert!(!process.programs.values().any(waits), "nobody is told how {name} ended");
        }
    }
}
