//! Programs of the same user that ask a peer for files, in the place of the user. Their
//! control socket loses nothing; what it carries is cut anywhere.

use kit::runner::Runner;
use p2pfs::node::Input;
use p2pfs::proto::control::{Ask, Inquiry};
use p2pfs::proto::{CloseReason, Transmit};
use p2pfs::wire::v0::FileName;

use crate::host::Host;
use crate::outside::Outside;
use crate::process::{Line, Process};

/// A program that waits for a file.
pub(crate) struct Client {
    inquiry: Inquiry,
    name: FileName,
}

impl Client {
    /// It is told a part of these bytes, at least; how many.
    pub(crate) fn hear(&mut self, out: &mut Outside, bytes: &[u8]) -> usize {
        let piece = &bytes[..out.rng.usize(1..=bytes.len())];
        let mut at = 0;
        while let Some(reply) =
            self.inquiry.handle_bytes(out.now(), piece, &mut at).expect("an answer")
        {
            out.note(|| format!("a program is told {reply:?}"));
        }
        piece.len()
    }

    /// Its connection is closed.
    pub(crate) fn check_closed(&self, reason: CloseReason) {
        let is_cut = matches!(reason, CloseReason::Evicted | CloseReason::Stopping);
        let is_told = self.inquiry.is_done() || is_cut;
        assert!(is_told, "{reason:?} before it is told of {}", self.name);
    }
}

impl Host {
    /// The user wants a file, and has a program ask for it.
    pub(crate) fn ask_for(&mut self, out: &mut Outside, name: FileName) {
        let now = out.now();
        let mut inquiry =
            Inquiry::new(now, Ask::Want { names: [name].into(), patterns: Vec::new() });
        inquiry.handle_connected(now);
        let Some(Transmit::Bytes { bytes, .. }) = inquiry.transmit() else {
            panic!("asks nothing");
        };
        let bytes = bytes.to_vec();
        inquiry.transmitted(bytes.len());
        let mut at = self.at(out);
        let client = Line::Program(Client { inquiry, name });
        let connection = at.accept_program(client).expect("a place");
        let cut = at.out.rng.usize(1..bytes.len());
        assert!(
            at.held_mut().read_allowance_bytes(connection) >= bytes.len(),
            "does not read a question"
        );
        for bytes in [&bytes[..cut], &bytes[cut..]] {
            at.feed(Input::Received { connection, bytes });
        }
    }

    /// All that is to be told is told: nobody waits for a file that has its end.
    pub(crate) fn check_programs(&mut self) {
        let Process { ended, held, .. } = self.process_mut();
        for name in ended.drain(..) {
            let waits = |line: &Line| {
                matches!(line, Line::Program(client)
                    if client.name == name && !client.inquiry.is_done())
            };
            let is_untold = held.connections.values().any(|connection| waits(&connection.what));
            assert!(!is_untold, "nobody is told how {name} ended");
        }
    }
}
