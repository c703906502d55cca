//! What other peers list of the paths that are wanted, and what a wish finds there.
//!
//! Keeps one row for each path and peer, and resolves a wish to the union of what all list
//! (F21). One path with different contents among them is ambiguous (F20). Sends nothing.
//!
//! Invariants: `rows` has no path without a row; `len` counts the rows and `bytes` what they
//! take up, at most `bytes_max`.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::wish::{IdPrefix, PathPattern, Wish};
use crate::content::Content;
use crate::limits::JOB_FILES_MAX;
use crate::node::ConnectionId;
use crate::wire::FilePath;
use crate::wire::v1::{Entry, EntryState};

/// About what a row takes up beside the text of its path.
const ROW_BYTES: usize = 192;
/// Candidates that are told of an ambiguous path.
const CANDIDATES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Listings {
    rows: BTreeMap<FilePath, Vec<Row>>,
    len: usize,
    bytes: usize,
    bytes_max: usize,
    /// Whether something was left out because there is no room.
    is_full: bool,
}

/// What one peer lists under a path.
#[derive(Clone, Copy, Debug)]
struct Row {
    from: ConnectionId,
    state: EntryState,
}

/// What one peer lists under a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) path: &'a FilePath,
    pub(super) state: EntryState,
    pub(super) from: ConnectionId,
}

/// What a wish finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Nobody lists anything like it.
    Nothing,
    Found(Found),
    Ambiguous(Ambiguity),
    /// More files than a job may have.
    TooMany,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) files: Vec<FoundFile>,
    /// Folders with nothing in them.
    pub(super) folders: Vec<FilePath>,
    /// Files that are left out: their path leads through another file of the job.
    pub(super) misplaced: Vec<FilePath>,
    /// How many files are left out because a component of their path begins with a dot.
    pub(super) hidden: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundFile {
    pub(super) path: FilePath,
    pub(super) size_bytes: u64,
    /// `None` while every source of it still hashes it.
    pub(super) content: Option<Content>,
    pub(super) modified_ns: u64,
    pub(super) executable: bool,
    /// How much of it a source has hashed, in bytes.
    pub(super) hashed_bytes: u64,
    /// The peers that list this content here, or that hash it.
    pub(super) sources: Vec<ConnectionId>,
}

/// Different things under one path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguity {
    pub(super) path: FilePath,
    pub(super) candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) from: ConnectionId,
    /// Where it stands.
    pub(super) path: FilePath,
    /// What it is; `None` is a folder.
    pub(super) state: Option<EntryState>,
}

impl Listings {
    /// Nothing is listed yet; the rows may take up so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { rows: BTreeMap::new(), len: 0, bytes: 0, bytes_max, is_full: false }
    }

    /// A peer lists this entry, or something else than before under its path.
    pub(super) fn note(&mut self, from: ConnectionId, entry: Entry) {
        let Entry { path, state } = entry;
        if state == EntryState::Removed {
            return self.remove(from, &path);
        }
        let row_bytes = ROW_BYTES + path.as_str().len();
        let has_room = self.bytes + row_bytes <= self.bytes_max;
        let is_new = !self.rows.contains_key(&path);
        if is_new && (!has_room || self.rows.len() > JOB_FILES_MAX) {
            return self.is_full = true;
        }
        let rows = self.rows.entry(path).or_insert_with(|| Vec::with_capacity(1));
        if let Some(row) = rows.iter_mut().find(|row| row.from == from) {
            row.state = state;
        } else if has_room {
            rows.push(Row { from, state });
            self.len += 1;
            self.bytes += row_bytes;
        }
    }

    fn remove(&mut self, from: ConnectionId, path: &FilePath) {
        let Some(rows) = self.rows.get_mut(path) else { return };
        let before = rows.len();
        rows.retain(|row| row.from != from);
        let removed = before - rows.len();
        if rows.is_empty() {
            self.rows.remove(path);
        }
        self.len -= removed;
        self.bytes -= removed * (ROW_BYTES + path.as_str().len());
    }

    /// Forgets what a peer listed at or below a path; `None` is everything.
    pub(super) fn discard(&mut self, from: ConnectionId, root: Option<&FilePath>) {
        let of_peer = self.below(root).filter(|(_, rows)| rows.iter().any(|row| row.from == from));
        for path in of_peer.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.remove(from, &path);
        }
    }

    /// Returns whether anybody lists a file under this path.
    pub(super) fn lists(&self, path: &FilePath) -> bool {
        self.rows.get(path).is_some_and(|rows| rows.iter().any(Row::is_file))
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    fn below(&self, root: Option<&FilePath>) -> impl Iterator<Item = (&FilePath, &[Row])> {
        let begin = root.map_or(Bound::Unbounded, Bound::Included);
        let is_below = move |path: &FilePath| root.is_none_or(|root| path.is_below(root));
        // What a folder holds stands together.
        let rows = self.rows.range::<FilePath, _>((begin, Bound::Unbounded));
        rows.take_while(move |(path, _)| is_below(path)).map(|(path, rows)| (path, &**rows))
    }

    /// Returns whether anybody lists something that a wish means.
    pub(super) fn has(&self, wish: &Wish) -> bool {
        if let Wish::Content { id, .. } = wish {
            let is_meant = |row: &Row| row.content().is_some_and(|content| id.matches(&content.id));
            return self.rows.values().flatten().any(is_meant);
        }
        let (root, selection) = self.selection(wish);
        self.below(root).any(|(path, rows)| selection.has(path, rows))
    }

    /// Returns what each peer lists of a wish, by path.
    pub(super) fn items<'a>(&'a self, wish: &'a Wish) -> impl Iterator<Item = Item<'a>> {
        let id = match wish {
            Wish::Content { id, .. } => Some(id),
            _ => None,
        };
        let (root, selection) = self.selection(wish);
        let rows = self.below(root).filter(move |(path, rows)| selection.has(path, rows));
        let items = rows.flat_map(|(path, rows)| {
            rows.iter().map(move |row| Item { path, state: row.state, from: row.from })
        });
        items.filter(move |item| match (id, item.state) {
            (None, _) => true,
            (Some(id), EntryState::File { content, .. }) => id.matches(&content.id),
            _ => false,
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Resolves a wish. Files with a component that begins with a dot are found only if that is
    /// part of the wish, or `with_hidden`.
    pub(super) fn resolve(&self, wish: &Wish, with_hidden: bool) -> Resolution {
        if let Wish::Content { id, .. } = wish {
            return self.resolve_content(id);
        }
        let (root, selection) = self.selection(wish);
        let with_hidden = with_hidden || selection.names_hidden();
        let root_components = root.map_or(0, |root| root.components().count());
        let is_hidden = |path: &FilePath| {
            path.components().skip(root_components).any(|component| component.starts_with('.'))
        };
        let mut found = Found::default();
        // The last file: what lies below it is misplaced.
        let mut last: Option<(&FilePath, &[Row])> = None;
        for (path, rows) in self.below(root).filter(|(path, rows)| selection.has(path, rows)) {
            if let Some((file, of_file)) = last.filter(|(file, _)| path.is_below(file)) {
                if let Some(row) = rows.iter().find(|row| !lists_file(of_file, row.from)) {
                    return Resolution::Ambiguous(file_and_folder(file, of_file, row.from));
                }
                found.misplaced.push(path.clone());
                continue;
            }
            if !with_hidden && is_hidden(path) {
                found.hidden += 1;
                continue;
            }
            match unite(path, rows) {
                United::File(file) => {
                    last = Some((path, rows));
                    found.files.push(file);
                }
                United::EmptyFolder => found.folders.push(path.clone()),
                United::Different => return Resolution::Ambiguous(different(path, rows)),
            }
        }
        if self.is_full || found.files.len() > JOB_FILES_MAX {
            return Resolution::TooMany;
        }
        found.leave_filled_folders_out();
        match found.is_empty() {
            true => Resolution::Nothing,
            false => Resolution::Found(found),
        }
    }

    /// Finds the one content whose id begins so, under whatever path.
    fn resolve_content(&self, id: &IdPrefix) -> Resolution {
        let mut found: Option<FoundFile> = None;
        for (path, row) in self.meant(id) {
            let file = match (&mut found, row.content()) {
                (Some(file), content) if file.content == content => file,
                (None, _) => found.insert(FoundFile::new(path, row)),
                (Some(_), _) => {
                    let candidates = self.meant(id).map(|(path, row)| row.candidate(path));
                    let candidates = candidates.take(CANDIDATES_MAX).collect();
                    return Resolution::Ambiguous(Ambiguity { path: path.clone(), candidates });
                }
            };
            if !file.sources.contains(&row.from) {
                file.sources.push(row.from);
            }
        }
        match found {
            Some(file) => Resolution::Found(Found { files: vec![file], ..Found::default() }),
            None => Resolution::Nothing,
        }
    }

    fn meant(&self, id: &IdPrefix) -> impl Iterator<Item = (&FilePath, &Row)> {
        let all = self.rows.iter().flat_map(|(path, rows)| rows.iter().map(move |row| (path, row)));
        all.filter(|(_, row)| row.content().is_some_and(|content| id.matches(&content.id)))
    }

    /// Returns where a wish looks, and for what.
    fn selection<'a>(&self, wish: &'a Wish) -> (Option<&'a FilePath>, Selection<'a>) {
        let is_file = |path: &&FilePath| {
            self.rows.get(*path).is_some_and(|rows| rows.iter().any(|row| row.is_file()))
        };
        match wish {
            Wish::Folder(Some(root)) => (Some(root), Selection::Inside(root)),
            Wish::Matching(pattern) => match pattern.literal().filter(is_file) {
                Some(literal) => (Some(literal), Selection::All),
                None => (wish.root(), Selection::Matching(pattern)),
            },
            Wish::Path(_) | Wish::Folder(None) | Wish::Content { .. } => {
                (wish.root(), Selection::All)
            }
        }
    }
}

/// What of the rows below a path is meant.
#[derive(Clone, Copy)]
enum Selection<'a> {
    All,
    /// What this folder holds, or itself if it holds nothing.
    Inside(&'a FilePath),
    Matching(&'a PathPattern),
}

impl Selection<'_> {
    fn has(&self, path: &FilePath, rows: &[Row]) -> bool {
        match self {
            Self::All => true,
            Self::Inside(folder) => path != *folder || !rows.iter().any(Row::is_file),
            Self::Matching(pattern) => pattern.matches(path),
        }
    }

    /// Returns whether a component that begins with a dot is meant by its name.
    fn names_hidden(&self) -> bool {
        match self {
            Self::Matching(pattern) => {
                pattern.as_str().split('/').any(|component| component.starts_with('.'))
            }
            Self::All | Self::Inside(_) => false,
        }
    }
}

impl Row {
    fn is_file(&self) -> bool {
        matches!(self.state, EntryState::File { .. } | EntryState::Unhashed { .. })
    }

    fn content(&self) -> Option<Content> {
        match self.state {
            EntryState::File { content, .. } => Some(content),
            _ => None,
        }
    }

    fn size_bytes(&self) -> Option<u64> {
        match self.state {
            EntryState::File { content, .. } => Some(content.size_bytes),
            EntryState::Unhashed { size_bytes, .. } => Some(size_bytes),
            EntryState::EmptyFolder | EntryState::Removed => None,
        }
    }

    fn candidate(&self, path: &FilePath) -> Candidate {
        let state = self.is_file().then_some(self.state);
        Candidate { from: self.from, path: path.clone(), state }
    }
}

impl FoundFile {
    /// A file as one peer lists it; it has no source yet.
    fn new(path: &FilePath, row: &Row) -> Self {
        let (modified_ns, executable) = match row.state {
            EntryState::File { modified_ns, executable, .. }
            | EntryState::Unhashed { modified_ns, executable, .. } => (modified_ns, executable),
            EntryState::EmptyFolder | EntryState::Removed => (0, false),
        };
        Self {
            path: path.clone(),
            size_bytes: row.size_bytes().unwrap_or_default(),
            content: row.content(),
            modified_ns,
            executable,
            hashed_bytes: 0,
            sources: Vec::with_capacity(1),
        }
    }
}

impl Found {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty() && self.hidden == 0
    }

    /// A folder that is empty at one peer may hold something at another.
    fn leave_filled_folders_out(&mut self) {
        let Self { files, folders, .. } = self;
        folders.retain(|folder| {
            let next = files.partition_point(|file| file.path < *folder);
            !files.get(next).is_some_and(|file| file.path.is_below(folder))
        });
    }
}

/// What all peers list under one path.
enum United {
    File(FoundFile),
    EmptyFolder,
    Different,
}

fn unite(path: &FilePath, rows: &[Row]) -> United {
    let first = rows.iter().find(|row| row.content().is_some());
    let Some(first) = first.or_else(|| rows.iter().find(|row| row.is_file())) else {
        return United::EmptyFolder;
    };
    let mut file = FoundFile::new(path, first);
    for row in rows {
        // One that is hashed still differs if its size does.
        let differs = row.content().is_some_and(|content| file.content != Some(content));
        if differs || row.size_bytes() != Some(file.size_bytes) {
            return United::Different;
        }
        if row.content() == file.content {
            file.sources.push(row.from);
        }
    }
    United::File(file)
}

fn lists_file(rows: &[Row], peer: ConnectionId) -> bool {
    rows.iter().any(|row| row.from == peer && row.is_file())
}

fn different(path: &FilePath, rows: &[Row]) -> Ambiguity {
    let candidates = rows.iter().take(CANDIDATES_MAX).map(|row| row.candidate(path)).collect();
    Ambiguity { path: path.clone(), candidates }
}

/// A peer has a folder where others have a file.
fn file_and_folder(path: &FilePath, of_file: &[Row], folder: ConnectionId) -> Ambiguity {
    let mut ambiguity = different(path, of_file);
    let folder = Candidate { from: folder, path: path.clone(), state: None };
    ambiguity.candidates.push(folder);
    ambiguity
}

#[cfg(test)]
mod tests;
