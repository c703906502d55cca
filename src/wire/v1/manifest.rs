//! The values of blocks, and how they merge to the id of a content.
//!
//! A value is the chaining value that BLAKE3 has for a block at its place in the content. The
//! values of all blocks, in order, are the manifest. They merge as BLAKE3 merges the subtrees
//! of its tree: the left one takes the largest power of two of bytes that leaves something to
//! the right. The last merge is the root, and gives the id.

use std::rc::Rc;

use blake3::hazmat::{
    HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::content::{Content, ContentId, Value};

/// Computes the value of one block of a content, or the id of a content of one block.
///
/// It takes 1,920 bytes: keep one only while a block is under way.
#[derive(Clone, Debug)]
pub struct BlockHasher(Box<blake3::Hasher>);

impl BlockHasher {
    /// Returns a hasher for the block that begins at this byte of its content: a multiple of
    /// the block length.
    pub fn new(offset_bytes: u64) -> Self {
        let mut hasher = Box::new(blake3::Hasher::new());
        hasher.set_input_offset(offset_bytes);
        Self(hasher)
    }

    /// Begins with another block, as [`BlockHasher::new`] does.
    pub fn begin(&mut self, offset_bytes: u64) {
        // A hasher that is reset keeps the offset that it began with.
        *self.0 = blake3::Hasher::new();
        self.0.set_input_offset(offset_bytes);
    }

    /// Takes the next bytes of the block. Pieces of 16 KiB or more are fastest.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the value of the block.
    pub fn value(&self) -> Value {
        self.0.finalize_non_root()
    }

    /// Returns the id of the content that this block is the whole of.
    pub fn id(&self) -> ContentId {
        ContentId(*self.0.finalize().as_bytes())
    }
}

/// Computes the id of a content and the values of its blocks, from all of its bytes in order.
#[derive(Clone)]
pub struct ContentHasher {
    /// Its id is not known.
    content: Content,
    hasher: BlockHasher,
    values: Vec<Value>,
    hashed_bytes: u64,
}

impl ContentHasher {
    /// Returns a hasher for a content of so many bytes.
    pub fn new(size_bytes: u64) -> Self {
        let content = Content { id: ContentId::EMPTY, size_bytes };
        Self { content, hasher: BlockHasher::new(0), values: Vec::new(), hashed_bytes: 0 }
    }

    /// Takes the next bytes of the content. Pieces of 16 KiB or more are fastest.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let block_bytes = self.content.block_bytes();
        while !bytes.is_empty() {
            let in_block_bytes = self.hashed_bytes % block_bytes;
            if in_block_bytes == 0 && self.hashed_bytes > 0 {
                self.values.push(self.hasher.value());
                self.hasher.begin(self.hashed_bytes);
            }
            let len = bytes.len().min((block_bytes - in_block_bytes) as usize);
            let (piece, rest) = bytes.split_at(len);
            self.hasher.update(piece);
            self.hashed_bytes += piece.len() as u64;
            bytes = rest;
        }
    }

    /// Returns the id and the values, which a content of one block has none of; `None` if another
    /// number of bytes came than the content has.
    pub fn finish(mut self) -> Option<(ContentId, Rc<[Value]>)> {
        if self.hashed_bytes != self.content.size_bytes {
            return None;
        }
        if self.content.blocks() < 2 {
            return Some((self.hasher.id(), Rc::from([])));
        }
        self.values.push(self.hasher.value());
        Some((merge(&self.values, &self.content)?, self.values.into()))
    }
}

impl std::fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.hashed_bytes, self.content.size_bytes)
    }
}

/// Returns the id that these values merge to; `None` unless there is one for each block of the
/// content, and two at least.
///
/// A manifest is right if this is the id of the content. It can be right for a wrong size: then
/// some block never has its value.
pub fn merge(values: &[Value], content: &Content) -> Option<ContentId> {
    if values.len() != content.blocks() as usize {
        return None;
    }
    let block_bytes = content.block_bytes();
    let (left, right) = halves(values, content.size_bytes, block_bytes)?;
    let left = subtree(left.0, left.1, block_bytes)?;
    let right = subtree(right.0, right.1, block_bytes)?;
    Some(ContentId(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()))
}

/// Returns the value of the subtree over these blocks, of `len_bytes` in all.
fn subtree(values: &[Value], len_bytes: u64, block_bytes: u64) -> Option<Value> {
    if let [value] = values {
        return Some(*value);
    }
    let (left, right) = halves(values, len_bytes, block_bytes)?;
    let left = subtree(left.0, left.1, block_bytes)?;
    let right = subtree(right.0, right.1, block_bytes)?;
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

/// Blocks, and how many bytes they have together.
type Subtree<'a> = (&'a [Value], u64);

/// Returns the two subtrees of more than one block.
fn halves(
    values: &[Value],
    len_bytes: u64,
    block_bytes: u64,
) -> Option<(Subtree<'_>, Subtree<'_>)> {
    if values.len() < 2 || len_bytes <= block_bytes {
        return None;
    }
    let left_bytes = left_subtree_len(len_bytes);
    let (left, right) = values.split_at_checked((left_bytes / block_bytes) as usize)?;
    Some(((left, left_bytes), (right, len_bytes - left_bytes)))
}
