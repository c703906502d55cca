//! The paths that a node knows, each by a small id.
//!
//! Names and paths come in at the edges and are looked up here once; tables, deadlines,
//! actions and reports carry the id. A table that keeps an id holds it, and releases it
//! when it forgets it. A path that nobody holds is forgotten by [`Paths::sweep`], once all
//! actions that may name it are carried out.
//!
//! Invariant: `ids` has each path in `slots`; one without holders is in `loose`.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use slab::Slab;

use crate::content::PathId;
use crate::wire::FilePath;
use crate::wire::v0::FileName;

#[derive(Debug, Default)]
pub struct Paths {
    slots: Slab<Entry>,
    ids: BTreeMap<FilePath, PathId>,
    next_generation: u32,
    /// Ids that had no holder at some time since the last sweep.
    loose: Vec<PathId>,
}

#[derive(Debug)]
struct Entry {
    path: FilePath,
    generation: u32,
    holders: u32,
}

impl Paths {
    /// Returns the id of a path, which is new if the path is. It lasts until the next
    /// [`Paths::sweep`], or for as long as it is held.
    pub(super) fn intern(&mut self, path: &FilePath) -> PathId {
        if let Some(id) = self.id_of(path) {
            return id;
        }
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.slots.insert(Entry { path: path.clone(), generation, holders: 0 });
        let id = PathId::new(slot, generation);
        self.ids.insert(path.clone(), id);
        self.loose.push(id);
        id
    }

    /// As [`Paths::intern`], for a name of version 0.
    pub(crate) fn intern_name(&mut self, name: FileName) -> PathId {
        self.intern(&name.into())
    }

    /// Returns the id of a path that is known.
    pub fn id_of(&self, path: &FilePath) -> Option<PathId> {
        self.ids.get(path).copied()
    }

    /// As [`Paths::id_of`], for a text that may be no legal path.
    pub fn find(&self, text: &str) -> Option<PathId> {
        self.id_of(&FilePath::new(text).ok()?)
    }

    /// Returns the paths behind `cursor`, in their order.
    pub(super) fn after(
        &self,
        cursor: Option<&FilePath>,
    ) -> impl Iterator<Item = (&FilePath, PathId)> + use<'_> {
        let from = cursor.map_or(Unbounded, Excluded);
        self.ids.range::<FilePath, _>((from, Unbounded)).map(|(path, id)| (path, *id))
    }

    /// Returns the path of an id; `None` if it is forgotten.
    pub fn get(&self, id: PathId) -> Option<&FilePath> {
        let entry = self.slots.get(id.slot())?;
        (entry.generation == id.generation()).then_some(&entry.path)
    }

    /// A table keeps this id.
    pub(super) fn hold(&mut self, id: PathId) {
        if let Some(entry) = self.entry_mut(id) {
            entry.holders += 1;
        }
    }

    /// A table no longer keeps this id.
    pub(super) fn release(&mut self, id: PathId) {
        let Some(entry) = self.entry_mut(id) else { return };
        debug_assert!(entry.holders > 0, "{id:?} is released more often than held");
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 {
            self.loose.push(id);
        }
    }

    /// Forgets the paths that nobody holds.
    pub(super) fn sweep(&mut self) {
        while let Some(id) = self.loose.pop() {
            if self.entry_mut(id).is_some_and(|entry| entry.holders == 0) {
                let entry = self.slots.remove(id.slot());
                self.ids.remove(&entry.path);
            }
        }
    }

    fn entry_mut(&mut self, id: PathId) -> Option<&mut Entry> {
        let entry = self.slots.get_mut(id.slot())?;
        (entry.generation == id.generation()).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FilePath {
        FileName::new(text).unwrap().into()
    }

    #[test]
    fn a_path_is_known_while_it_is_held_and_its_id_is_never_used_again() {
        let mut paths = Paths::default();
        let (a, b) = (paths.intern(&path("a")), paths.intern(&path("b")));
        assert_eq!((paths.intern(&path("a")), paths.find("b")), (a, Some(b)));
        paths.hold(a);
        paths.hold(a);
        paths.sweep();
        assert_eq!((paths.get(a), paths.get(b), paths.find("b")), (Some(&path("a")), None, None));
        paths.release(a);
        paths.sweep();
        assert_eq!(paths.find("a"), Some(a));
        paths.release(a);
        assert_eq!(paths.get(a), Some(&path("a")), "actions may name it until the sweep");
        paths.sweep();
        let c = paths.intern(&path("c"));
        assert_eq!((paths.get(a), paths.get(c)), (None, Some(&path("c"))));
        assert!(c != a && c != b);
    }

    #[test]
    fn a_path_that_is_held_again_before_the_sweep_keeps_its_id() {
        let mut paths = Paths::default();
        let a = paths.intern(&path("a"));
        paths.hold(a);
        paths.release(a);
        paths.hold(a);
        paths.sweep();
        assert_eq!(paths.find("a"), Some(a));
    }
}
