//! The contents of a swarm: their bytes are cut from one pattern, so that thousands of peers
//! with gigabytes fit into the memory of one.

use std::collections::BTreeMap;
use std::rc::Rc;

use p2pfs::content::{Content, Value};
use p2pfs::wire::FilePath;
use p2pfs::wire::v1::ContentHasher;

/// By how much the bytes of a block lie behind those of the one before.
const STEP_BYTES: usize = 64;

/// A file that is shared, and what it holds.
pub(crate) struct File {
    pub(crate) path: FilePath,
    pub(crate) content: Content,
    pub(crate) values: Rc<[Value]>,
    number: usize,
}

/// All files of a swarm.
pub(crate) struct Contents {
    /// Block `b` of file `f` begins at `STEP_BYTES * (b + f)`.
    pattern: Rc<[u8]>,
    pub(crate) files: Vec<File>,
    by_content: BTreeMap<Content, usize>,
}

impl Contents {
    /// Returns files of these sizes: one named `image`, several in the folder `folder`.
    pub(crate) fn new(sizes: &[u64]) -> Self {
        let sized = |size_bytes| Content { id: p2pfs::content::ContentId::EMPTY, size_bytes };
        let blocks_max = sizes.iter().map(|&size| sized(size).blocks()).max().unwrap_or(0);
        let block_bytes = sizes.iter().map(|&size| sized(size).block_bytes()).max().unwrap_or(0);
        let shifts = blocks_max as usize + sizes.len();
        let len_bytes = block_bytes as usize + STEP_BYTES * shifts;
        let pattern: Rc<[u8]> = kit::content(1, len_bytes).into();
        let mut contents = Self { pattern, files: Vec::new(), by_content: BTreeMap::new() };
        for (number, &size) in sizes.iter().enumerate() {
            let path = match sizes.len() {
                1 => "image".to_owned(),
                _ => format!("folder/{number}"),
            };
            let path = FilePath::new(&path).expect("a legal path");
            let mut file = File { path, content: sized(size), values: Rc::new([]), number };
            let mut hasher = ContentHasher::new(size);
            for block in 0..file.content.blocks() {
                let range = file.content.block_range(block);
                let at = file.position(range.start);
                let len = (range.end - range.start) as usize;
                hasher.update(&contents.pattern[at..at + len]);
            }
            (file.content.id, file.values) = hasher.finish().expect("all of it was hashed");
            assert!(contents.by_content.insert(file.content, number).is_none(), "two alike");
            contents.files.push(file);
        }
        contents
    }

    /// Returns the bytes of which files are made, see [`File::position`].
    pub(crate) fn pattern(&self) -> Rc<[u8]> {
        Rc::clone(&self.pattern)
    }

    /// Returns the number of the file with this content.
    pub(crate) fn find(&self, content: &Content) -> usize {
        *self.by_content.get(content).expect("a content that is shared")
    }

    /// Returns the size of all files together.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.content.size_bytes).sum()
    }
}

impl File {
    /// Returns where a byte of the file lies in the pattern; the rest of its block follows.
    pub(crate) fn position(&self, offset: u64) -> usize {
        let block_bytes = self.content.block_bytes();
        let shift = (offset / block_bytes) as usize + self.number;
        STEP_BYTES * shift + (offset % block_bytes) as usize
    }

    /// Returns how many bytes there are from an offset to the end of its block.
    pub(crate) fn left_in_block(&self, offset: u64) -> u64 {
        let block = (offset / self.content.block_bytes()) as u32;
        self.content.block_range(block).end - offset
    }
}
