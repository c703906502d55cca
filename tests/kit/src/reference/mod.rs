//! A registry and a peer in the role of the reference.
//!
//! Plain blocking programs with a thread for each connection, written from
//! PROTOCOL.md section 3 with the reference's quirks, so that our programs are
//! tested beside it in every mix. They share no code with the crate. Where the
//! reference sleeps, the time is a setting, with its own value as default; where it
//! would spin for ever or a thread of it would die, that is noted instead, and the
//! thread ends.

mod downloader;
mod peer;
mod registry;
mod uploader;

use std::sync::{Arc, Mutex};

pub use peer::{ReferencePeer, Settings};
pub use registry::ReferenceRegistry;

use crate::await_until;

/// The reference reads a stream in receives of this size.
const RECEIVE_BYTES: usize = 1024;

/// Something that happened in a program of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Its counterpart closed in order: from here on it would spin at full CPU.
    WouldSpin(Part),
    /// A thread of it died.
    Died(Part, &'static str),
    /// Its counterpart closed with a reset, which it notices.
    Reset(Part),
    /// The registry refused the registration, with these words.
    Refused(String),
    /// No acknowledgment came in time and the chunk was sent again.
    Resent,
    /// It could not serve a request and fell silent.
    Silent,
    /// The lookup for this file was not answered, so it was given up for ever.
    GaveUp(String),
    /// The checksum of this file was wrong, or taken for wrong.
    ChecksumFailed(String),
    /// This file arrived and was verified.
    Verified(String),
}

/// A part of the reference's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Registry,
    Lookups,
    Uploader,
    Downloader,
    Listener,
}

/// What happened so far, in order.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<Note>>>);

impl Notes {
    fn add(&self, note: Note) {
        self.0.lock().unwrap().push(note);
    }

    pub fn count(&self, note: &Note) -> usize {
        self.0.lock().unwrap().iter().filter(|noted| *noted == note).count()
    }

    #[track_caller]
    pub fn await_note(&self, note: &Note) {
        await_until(&format!("the reference notes {note:?}"), || self.count(note) > 0);
    }

    /// Waits until a counterpart of this part is gone; it may not be by an orderly
    /// close.
    #[track_caller]
    pub fn await_reset(&self, part: Part) {
        await_until(&format!("{part:?} notices that its counterpart is gone"), || {
            self.count(&Note::Reset(part)) + self.count(&Note::WouldSpin(part)) > 0
        });
        self.assert_unharmed();
    }

    /// Nothing happened that the reference does not survive.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        let notes = self.0.lock().unwrap();
        let harm = notes.iter().find(|note| {
            matches!(note, Note::WouldSpin(_) | Note::Died(..) | Note::GaveUp(_) | Note::Resent)
        });
        assert!(harm.is_none(), "the reference came to harm: {notes:?}");
    }
}
