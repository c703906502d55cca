//! Which entries of a catalog any wish means: many entries are held against many wishes.

use std::collections::BTreeSet;

use super::wish::{IdPrefix, PathPattern, Wish};
use crate::wire::FilePath;
use crate::wire::v1::{Entry, EntryState};

/// The wishes that are open.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// None lies below another.
    roots: BTreeSet<FilePath>,
    has_all: bool,
    patterns: Vec<PathPattern>,
    ids: Vec<IdPrefix>,
}

impl Index {
    pub(super) fn new<'a>(wishes: impl Iterator<Item = &'a Wish>) -> Self {
        let mut index = Self::default();
        for wish in wishes {
            match wish {
                Wish::Path(root) | Wish::Folder(Some(root)) => index.add(root),
                Wish::Folder(None) => index.has_all = true,
                Wish::Matching(pattern) => index.patterns.push(pattern.clone()),
                Wish::Content { id, .. } => index.ids.push(id.clone()),
            }
        }
        index
    }

    fn add(&mut self, root: &FilePath) {
        if !self.is_below_root(root) {
            let below = self.roots.range(root..).take_while(|path| path.is_below(root));
            for path in below.cloned().collect::<Vec<_>>() {
                self.roots.remove(&path);
            }
            self.roots.insert(root.clone());
        }
    }

    /// As no root lies below another, the last one up to a path is the only one it can be below.
    fn is_below_root(&self, path: &FilePath) -> bool {
        self.roots.range(..=path).next_back().is_some_and(|root| path.is_below(root))
    }

    /// Returns whether a wish means this entry, or what it replaces.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let is_content = |id: &IdPrefix| match &entry.state {
            EntryState::File { content, .. } => id.matches(&content.id),
            // An earlier entry may have had it.
            EntryState::Removed => true,
            EntryState::Unhashed { .. } | EntryState::EmptyFolder => false,
        };
        // What stands below a file that is called like the pattern tells that it is a folder.
        let matches = |it: &PathPattern| {
            it.matches(&entry.path) || it.literal().is_some_and(|path| entry.path.is_below(path))
        };
        self.has_all
            || self.is_below_root(&entry.path)
            || self.patterns.iter().any(matches)
            || self.ids.iter().any(is_content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_meant_if_any_wish_means_it() {
        let wishes = ["a/b/c", "a", "a/b", "x/y", "a0", "p/*.jpg"].map(|it| it.parse().unwrap());
        let index = Index::new(wishes.iter());
        let has = |text: &str| {
            let path = FilePath::new(text).unwrap();
            index.has(&Entry { path, state: EntryState::Removed })
        };
        assert_eq!(index.roots.len(), 3, "{:?}", index.roots);
        for text in ["a", "a/b/c/d", "a/c", "a/z", "x/y", "x/y/z", "a0", "p/q.jpg"] {
            assert!(has(text), "{text}");
        }
        for text in ["x", "x/z", "a1", "b", "p/q/r.jpg", "p", "aa"] {
            assert!(!has(text), "{text}");
        }
    }
}
