//! Which folders are watched, by their paths and by the numbers that the kernel gave them.
//!
//! A folder that lies below two roots has two paths and one number. Invariants: each path of
//! `folders` is among the places of its number, and the other way round; no number is without
//! a place.

use std::collections::BTreeMap;

use crate::wire::FilePath;

/// What an event of a number is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder that is shared; `None` is the top.
    Folder(Option<FilePath>),
    /// A folder of which one file of this name is shared, under this path.
    Around { name: Box<[u8]>, path: FilePath },
    /// A folder around one that is shared.
    Outside,
}

#[derive(Debug, Default)]
pub(super) struct Watched {
    folders: BTreeMap<Option<FilePath>, Folder>,
    places: BTreeMap<i32, Vec<Place>>,
    /// The scan of all folders that is under way, or was the last.
    scan: u32,
}

#[derive(Clone, Copy, Debug)]
struct Folder {
    number: i32,
    /// The scan that found it last.
    scan: u32,
}

impl Watched {
    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn contains(&self, folder: Option<&FilePath>) -> bool {
        self.folders.contains_key(&folder.cloned())
    }

    pub(super) fn places(&self, number: i32) -> &[Place] {
        self.places.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Enters a place. Returns the number that is to be given up, if another folder had this
    /// path, and nothing else.
    pub(super) fn insert(&mut self, number: i32, place: Place) -> Option<i32> {
        let mut void = None;
        if let Place::Folder(path) = &place {
            let new = Folder { number, scan: self.scan };
            let old = self.folders.insert(path.clone(), new);
            void = old
                .filter(|old| old.number != number)
                .and_then(|old| self.leave(old.number, &place));
        }
        let places = self.places.entry(number).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
        void
    }

    /// The kernel has given up a number.
    pub(super) fn remove(&mut self, number: i32) -> Vec<Place> {
        let places = self.places.remove(&number).unwrap_or_default();
        for place in &places {
            if let Place::Folder(path) = place {
                self.folders.remove(path);
            }
        }
        places
    }

    /// Returns the folders at a path and below it.
    pub(super) fn below(&self, path: &FilePath) -> Vec<FilePath> {
        let from = self.folders.range(Some(path.clone())..);
        let paths = from.filter_map(|(folder, _)| folder.as_ref());
        paths.take_while(|folder| folder.is_below(path)).cloned().collect()
    }

    /// Forgets one folder. Returns its number if that is to be given up.
    pub(super) fn forget(&mut self, path: &FilePath) -> Option<i32> {
        let path = Some(path.clone());
        let folder = self.folders.remove(&path)?;
        self.leave(folder.number, &Place::Folder(path))
    }

    /// A folder has another path. Returns the number that is to be given up, as in `insert`.
    pub(super) fn rename(&mut self, path: &FilePath, new: FilePath) -> Option<i32> {
        let old = Some(path.clone());
        let folder = self.folders.remove(&old)?;
        // In this order the number never is without a place.
        let void = self.insert(folder.number, Place::Folder(Some(new)));
        self.leave(folder.number, &Place::Folder(old));
        void
    }

    /// A scan of all folders begins.
    pub(super) fn begin_scan(&mut self) {
        self.scan = self.scan.wrapping_add(1);
    }

    /// The scan has ended: returns the folders that it did not find.
    pub(super) fn not_found(&self) -> Vec<FilePath> {
        let old = self.folders.iter().filter(|(_, folder)| folder.scan != self.scan);
        old.filter_map(|(path, _)| path.clone()).collect()
    }

    /// Returns whether each folder has its place.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let placed: usize = self
            .places
            .values()
            .flatten()
            .filter(|place| matches!(place, Place::Folder(_)))
            .count();
        placed == self.folders.len()
            && self.places.values().all(|places| !places.is_empty())
            && self.folders.iter().all(|(path, folder)| {
                self.places(folder.number).contains(&Place::Folder(path.clone()))
            })
    }

    /// Takes a place from a number. Returns the number if it has no other.
    fn leave(&mut self, number: i32, place: &Place) -> Option<i32> {
        let places = self.places.get_mut(&number)?;
        places.retain(|other| other != place);
        places.is_empty().then(|| {
            self.places.remove(&number);
            number
        })
    }
}
