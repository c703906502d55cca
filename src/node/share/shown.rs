//! What beacons show of our catalog: the tags of its paths, of the folders on the way to them and
//! of its contents, how many files there are, and which change was the last.

use super::Share;
use crate::content::ContentId;
use crate::node::peer::Context;
use crate::node::peers::Beacons;
use crate::wire::FilePath;
use crate::wire::v1::{EntryState, Tag, TagKey};

/// What beacons do not show yet.
#[derive(Debug, Default)]
pub(super) struct Unshown {
    more: Vec<Tag>,
    less: Vec<Tag>,
    has_changed: bool,
}

impl Unshown {
    /// A content is fetched from now on, or no more.
    pub(super) fn note_fetched(&mut self, key: &TagKey, id: &ContentId, is_fetched: bool) {
        self.has_changed = true;
        let tags = if is_fetched { &mut self.more } else { &mut self.less };
        tags.push(key.of_content(id));
    }

    /// A path was one thing, and is another from now on.
    pub(super) fn note(
        &mut self,
        key: &TagKey,
        path: &FilePath,
        (before, after): (Option<EntryState>, Option<EntryState>),
    ) {
        self.has_changed = true;
        if before.is_some() != after.is_some() {
            let tags = if after.is_some() { &mut self.more } else { &mut self.less };
            tags.extend(on_the_way_to(path).map(|path| key.of_path(&path)));
        }
        let content = |state: Option<EntryState>| match state {
            Some(EntryState::File { content, .. }) => Some(content.id),
            _ => None,
        };
        let (before, after) = (content(before), content(after));
        if before != after {
            self.less.extend(before.map(|id| key.of_content(&id)));
            self.more.extend(after.map(|id| key.of_content(&id)));
        }
    }
}

/// Returns a path, and the folders in which it lies.
fn on_the_way_to(path: &FilePath) -> impl Iterator<Item = FilePath> {
    let text = path.as_str();
    let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
    ends.filter_map(|end| FilePath::new(text.get(..end)?).ok())
}

impl Share {
    /// Has beacons show what has changed since.
    pub(crate) fn show(&mut self, beacons: &mut Beacons) {
        if !std::mem::take(&mut self.unshown.has_changed) {
            return;
        }
        self.unshown.more.drain(..).for_each(|tag| beacons.show(tag));
        self.unshown.less.drain(..).for_each(|tag| beacons.hide(tag));
        let files = u32::try_from(self.catalog.files()).unwrap_or(u32::MAX);
        beacons.set_shown(files, self.catalog.newest());
    }

    /// Notes what a path becomes, for the beacons that are sent.
    pub(super) fn note_shown(&mut self, ctx: &Context, path: &FilePath, state: EntryState) {
        let Some(settings) = &ctx.settings.beacons else { return };
        let before = self.catalog.get(path).copied();
        let after = (state != EntryState::Removed).then_some(state);
        if before != after {
            for key in &settings.tag_keys {
                self.unshown.note(key, path, (before, after));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::content::Content;

    #[test]
    fn every_tag_is_hidden_as_often_as_it_was_shown() {
        let key = TagKey::new(None);
        let path = |text: &str| FilePath::new(text).unwrap();
        let content = Content { id: ContentId([1; 32]), size_bytes: 1 };
        let file = Some(EntryState::File { content, modified_ns: 0, executable: false });
        let unhashed = Some(EntryState::Unhashed {
            size_bytes: 1,
            modified_ns: 0,
            executable: false,
            hashed_bytes: 0,
        });
        let mut unshown = Unshown::default();
        let mut counts: BTreeMap<Tag, i32> = BTreeMap::new();
        let steps = [("a/b/c", None, unhashed), ("a/b/c", unhashed, file), ("a/d", None, file)];
        for (text, before, after) in steps {
            unshown.note(&key, &path(text), (before, after));
        }
        let mut count = |unshown: &mut Unshown| {
            unshown.more.drain(..).for_each(|tag| *counts.entry(tag).or_default() += 1);
            unshown.less.drain(..).for_each(|tag| *counts.entry(tag).or_default() -= 1);
            counts.clone()
        };
        let shown = count(&mut unshown);
        let of = |text: &str| shown.get(&key.of_path(&path(text))).copied();
        assert_eq!(
            ["a", "a/b", "a/b/c", "a/d", "b"].map(of),
            [Some(2), Some(1), Some(1), Some(1), None]
        );
        assert_eq!(shown.get(&key.of_content(&content.id)), Some(&2));
        unshown.note(&key, &path("a/b/c"), (file, None));
        unshown.note(&key, &path("a/d"), (file, None));
        assert!(count(&mut unshown).values().all(|count| *count == 0));
    }
}
