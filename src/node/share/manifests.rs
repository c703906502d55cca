//! The values of the blocks of our files, as many as there is room for.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::content::{ContentId, Value};
use crate::limits::MANIFESTS_BYTES_MAX;

/// Invariant: `order` has each key of `values` once, the one that came last at the end; `bytes` is
/// what they take together.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    values: BTreeMap<ContentId, Rc<[Value]>>,
    order: VecDeque<ContentId>,
    bytes: usize,
}

impl Manifests {
    pub(super) fn get(&self, id: &ContentId) -> Option<Rc<[Value]>> {
        self.values.get(id).cloned()
    }

    /// Keeps the values of a content; those that came first go for it.
    pub(super) fn insert(&mut self, id: ContentId, values: Rc<[Value]>) {
        if values.is_empty() || self.values.contains_key(&id) {
            return;
        }
        self.bytes += size_of_val(&*values);
        self.values.insert(id, values);
        self.order.push_back(id);
        while self.bytes > MANIFESTS_BYTES_MAX
            && let Some(first) = self.order.pop_front()
        {
            let values = self.values.remove(&first);
            self.bytes -= values.map_or(0, |values| size_of_val(&*values));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_last_is_kept() {
        let mut manifests = Manifests::default();
        let values: Rc<[Value]> = vec![[0; 32]; MANIFESTS_BYTES_MAX / 32 / 4].into();
        let ids = [1, 2, 3, 4, 5].map(|n| ContentId([n; 32]));
        ids.iter().for_each(|id| manifests.insert(*id, Rc::clone(&values)));
        manifests.insert(ids[4], Rc::clone(&values));
        assert_eq!(ids.map(|id| manifests.get(&id).is_some()), [false, true, true, true, true]);
        manifests.insert(ContentId([6; 32]), Rc::from([]));
        assert!(manifests.get(&ContentId([6; 32])).is_none());
    }
}
