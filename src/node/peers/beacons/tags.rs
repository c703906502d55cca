//! The tags of what we have, whole or in part, or are fetching.

use std::collections::BTreeMap;

use crate::wire::v1::Tag;

/// Counts for each tag how many things have it: files with the same content, those in a folder.
#[derive(Debug, Default)]
pub(super) struct Tags(BTreeMap<Tag, u32>);

impl Tags {
    pub(super) fn contains(&self, tag: Tag) -> bool {
        self.0.contains_key(&tag)
    }

    pub(super) fn add(&mut self, tag: Tag) {
        let count = self.0.entry(tag).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn remove(&mut self, tag: Tag) {
        if let Some(count) = self.0.get_mut(&tag) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&tag);
            }
        }
    }
}
