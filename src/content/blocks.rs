//! A content and its blocks: how a file is cut, and which of its blocks are there.

use std::fmt;
use std::ops::Range;

use super::{from_hex, to_hex};
use crate::limits::{BLOCK_BYTES_MIN, BLOCKS_MAX};

/// The BLAKE3 hash of all bytes of a file, which names them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub [u8; 32]);

impl ContentId {
    /// The id of no bytes at all.
    pub const EMPTY: Self = Self([
        0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9,
        0x49, 0x9b, 0xcb, 0x25, 0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f,
        0x32, 0x62,
    ]);

    /// Returns the id in 64 lower-case hexadecimal digits; `None` for anything else.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        from_hex(digits).map(Self)
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        to_hex(&self.0).iter().try_for_each(|&digit| fmt::Write::write_char(f, char::from(digit)))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The chaining value that BLAKE3 has for a block at its place in the content.
pub type Value = [u8; 32];

/// The bytes that an id and a size name together: the id alone does not fix the size of what a
/// liar serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    pub id: ContentId,
    /// At most [`CONTENT_BYTES_MAX`](crate::limits::CONTENT_BYTES_MAX).
    pub size_bytes: u64,
}

impl Content {
    /// Returns the length of every block but the last: [`BLOCK_BYTES_MIN`], doubled until there
    /// are at most [`BLOCKS_MAX`].
    pub fn block_bytes(&self) -> u64 {
        let mut block_bytes = BLOCK_BYTES_MIN;
        while self.size_bytes.div_ceil(block_bytes) > u64::from(BLOCKS_MAX) {
            block_bytes *= 2;
        }
        block_bytes
    }

    /// Returns the number of blocks; an empty content has none.
    pub fn blocks(&self) -> u32 {
        self.size_bytes.div_ceil(self.block_bytes()) as u32
    }

    /// Returns where the bytes of a block lie; an empty range behind the last one.
    pub fn block_range(&self, block: u32) -> Range<u64> {
        let start = (u64::from(block) * self.block_bytes()).min(self.size_bytes);
        start..(start + self.block_bytes()).min(self.size_bytes)
    }
}

/// A set of the blocks of one content: those that are there, say.
///
/// Invariants: every number in it is below `blocks`; `count` is how many there are.
#[derive(Clone, PartialEq, Eq)]
pub struct BlockSet {
    bits: Box<[u8]>,
    blocks: u32,
    count: u32,
}

impl BlockSet {
    /// Returns a set of none of so many blocks.
    pub fn none(blocks: u32) -> Self {
        Self { bits: vec![0; blocks.div_ceil(8) as usize].into(), blocks, count: 0 }
    }

    /// Returns the set that these bits are, the most significant bit of each byte first; `None`
    /// if they are not as many bytes as so many blocks need, or a spare bit is set.
    pub fn from_bits(bits: &[u8], blocks: u32) -> Option<Self> {
        let spare = bits.len() as u32 * 8 - blocks.min(bits.len() as u32 * 8);
        let is_spare_set = bits.last().is_some_and(|last| last.trailing_zeros() < spare);
        (bits.len() == blocks.div_ceil(8) as usize && !is_spare_set).then(|| Self {
            bits: bits.into(),
            blocks,
            count: bits.iter().map(|byte| byte.count_ones()).sum(),
        })
    }

    /// Returns the bits, the most significant bit of each byte first.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Adds a block. Returns whether it is one of the content and was not in the set.
    pub fn insert(&mut self, block: u32) -> bool {
        let is_new = block < self.blocks && !self.contains(block);
        if is_new && let Some(byte) = self.bits.get_mut(block as usize / 8) {
            *byte |= 0x80 >> (block % 8);
            self.count += 1;
        }
        is_new
    }

    /// Takes a block out. Returns whether it was in the set.
    pub fn remove(&mut self, block: u32) -> bool {
        let was_there = block < self.blocks && self.contains(block);
        if was_there && let Some(byte) = self.bits.get_mut(block as usize / 8) {
            *byte &= !(0x80 >> (block % 8));
            self.count -= 1;
        }
        was_there
    }

    /// Returns a set of all of so many blocks.
    pub fn all(blocks: u32) -> Self {
        let mut set = Self::none(blocks);
        (0..blocks).for_each(|block| _ = set.insert(block));
        set
    }

    /// Returns the blocks that are in both sets, in order.
    pub fn both<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let bytes = self.bits.iter().zip(&other.bits).map(|(one, other)| one & other).enumerate();
        bytes.filter(|(_, byte)| *byte != 0).flat_map(|(index, byte)| {
            let in_byte = (0..8).filter(move |bit| byte & (0x80 >> bit) != 0);
            in_byte.map(move |bit| index as u32 * 8 + bit)
        })
    }

    pub fn contains(&self, block: u32) -> bool {
        self.bits.get(block as usize / 8).is_some_and(|byte| byte & (0x80 >> (block % 8)) != 0)
    }

    /// Returns how many blocks the content has.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Returns how many of them are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn is_full(&self) -> bool {
        self.count == self.blocks
    }

    /// Returns the blocks in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.blocks).filter(|&block| self.contains(block))
    }
}

impl fmt::Debug for BlockSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_beyond_the_last_block() {
        let mut set = BlockSet::none(9);
        assert!(set.insert(0) && set.insert(8) && !set.insert(8) && !set.insert(9));
        assert_eq!((set.bits(), set.count()), (&[0x80, 0x80][..], 2));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 8]);
        assert_eq!(BlockSet::from_bits(&[0x80, 0x80], 9), Some(set));
        (1..8).for_each(|block| assert!(BlockSet::from_bits(&[0xff], block).is_none()));
        assert!(BlockSet::from_bits(&[0xff], 8).is_some_and(|set| set.is_full()));
        assert!(BlockSet::from_bits(&[0xff], 9).is_none());
        assert!(BlockSet::from_bits(&[0xff, 0x80], 8).is_none());
        assert!(BlockSet::from_bits(&[], 0).is_some_and(|set| set.is_full()));
    }

    #[test]
    fn blocks_are_taken_out_again_and_compared() {
        let mut set = BlockSet::all(9);
        assert!(set.is_full() && set.remove(3) && !set.remove(3) && !set.remove(9));
        assert_eq!((set.count(), set.contains(3)), (8, false));
        let mut other = BlockSet::none(9);
        [1, 3, 8].into_iter().for_each(|block| assert!(other.insert(block)));
        assert_eq!(set.both(&other).collect::<Vec<_>>(), [1, 8]);
    }

    #[test]
    fn blocks_cover_a_content_without_a_gap() {
        for size_bytes in [0, 1, 262_144, 262_145, 4 << 30, (4 << 30) + 1, 1 << 44] {
            let content = Content { id: ContentId::EMPTY, size_bytes };
            let mut at = 0;
            for block in 0..content.blocks() {
                let range = content.block_range(block);
                assert!(range.start == at && range.end > at);
                at = range.end;
            }
            assert_eq!(at, size_bytes);
            assert!(content.block_range(content.blocks()).is_empty());
        }
    }
}
