//! The values of blocks, and how they merge to the id of a content.
//!
//! A value is the chaining value that BLAKE3 has for a block at its place in the content. The
//! values of all blocks, in order, are the manifest. They merge as BLAKE3 merges the subtrees
//! of its tree: the left one takes the largest power of two of bytes that leaves something to
//! the right. The last merge is the root, and gives the id.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::content::{Content, ContentId};

/// The chaining value of a block.
pub type Value = ChainingValue;

/// Computes the value of one block of a content, or the id of a content of one block.
///
/// It takes 1,920 bytes: keep one only while a block is under way.
#[derive(Clone)]
pub struct BlockHasher(Box<blake3::Hasher>);

impl BlockHasher {
    /// Returns a hasher for the block that begins at this byte of its content: a multiple of
    /// the block length.
    pub fn new(offset_bytes: u64) -> Self {
        let mut hasher = Box::new(blake3::Hasher::new());
        hasher.set_input_offset(offset_bytes);
        Self(hasher)
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
