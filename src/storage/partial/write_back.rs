//! When the kernel is told to write back what was written, so that little is left for the fsync.

use std::ops::Range;

use crate::limits::{WRITE_BACK_BYTES, WRITE_BACK_PLACES_MAX};

/// What was written since the kernel was last told, at each place where bytes come in.
#[derive(Debug, Default)]
pub(super) struct WriteBack {
    /// The place written to last stands last.
    waiting: Vec<Range<u64>>,
}

impl WriteBack {
    /// Notes what was written; returns the range that is due to be written back.
    pub(super) fn wrote(&mut self, offset: u64, len_bytes: u64) -> Option<Range<u64>> {
        let place = self.waiting.iter().position(|range| range.end == offset);
        let begun = place.map(|place| self.waiting.remove(place));
        let range = begun.map_or(offset, |range| range.start)..offset + len_bytes;
        if range.end - range.start >= WRITE_BACK_BYTES {
            self.waiting.push(range.end..range.end);
            return Some(range);
        }
        self.waiting.push(range);
        (self.waiting.len() > WRITE_BACK_PLACES_MAX).then(|| self.waiting.remove(0))
    }

    /// Returns what is left of all places.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = Range<u64>> + use<> {
        std::mem::take(&mut self.waiting).into_iter().filter(|range| !range.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = WRITE_BACK_BYTES / 4;

    #[test]
    fn it_begins_when_enough_is_written_in_a_row() {
        let mut write_back = WriteBack::default();
        for n in 0..3 {
            assert_eq!(write_back.wrote(n * PIECE, PIECE), None);
        }
        assert_eq!(write_back.wrote(3 * PIECE, PIECE), Some(0..4 * PIECE));
        assert_eq!(write_back.wrote(4 * PIECE, PIECE), None);
        assert_eq!(write_back.wrote(100 * PIECE, 3 * PIECE), None, "elsewhere it begins anew");
        assert_eq!(write_back.wrote(103 * PIECE, PIECE), Some(100 * PIECE..104 * PIECE));
        assert_eq!(write_back.rest().next(), Some(4 * PIECE..5 * PIECE));
        assert_eq!(write_back.rest().count(), 0);
    }

    #[test]
    fn places_take_turns_and_one_too_many_is_written_back_early() {
        let mut write_back = WriteBack::default();
        let at = |place: u64| place * 1000 * PIECE;
        for n in 0..3 {
            for place in 0..WRITE_BACK_PLACES_MAX as u64 {
                assert_eq!(write_back.wrote(at(place) + n * PIECE, PIECE), None);
            }
        }
        assert_eq!(write_back.wrote(at(1) + 3 * PIECE, PIECE), Some(at(1)..at(1) + 4 * PIECE));
        assert_eq!(write_back.wrote(at(7777), 1), Some(0..3 * PIECE), "the oldest");
    }
}
