//! Listings: the readers of our catalog, and which files are hashed first for them.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::giving::Key;
use super::{Share, Wake};
use crate::node::PathId;
use crate::node::peer::{Context, Wake as PeerWake};
use crate::proto::v1::{Listing, Reader};

const LISTS: PeerWake = PeerWake::Share(Wake::Lists);

/// Those that read our catalog or our fetch list.
#[derive(Debug, Default)]
pub(super) struct Lists {
    readers: BTreeMap<Key, ListReader>,
    /// The reader for which a file was hashed last.
    hashed_for: Option<Key>,
}

#[derive(Debug)]
struct ListReader {
    reader: Reader,
    is_fetch_list: bool,
    /// Whether a page is not sent whole: the next one is made only then.
    is_sending: bool,
}

impl Lists {
    pub(super) fn remove(&mut self, key: Key) {
        self.readers.remove(&key);
    }

    pub(super) fn remove_all(&mut self, keys: std::ops::RangeInclusive<Key>) {
        let keys: Vec<_> = self.readers.range(keys).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.remove(key));
    }

    /// Returns the readers that want files hashed, from the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = (Key, &Reader)> {
        let from = self.hashed_for.map_or(Unbounded, Excluded);
        let until = self.hashed_for.map(|key| ..=key).into_iter();
        let later = self.readers.range((from, Unbounded));
        let earlier = until.flat_map(|until| self.readers.range(until));
        later.chain(earlier).map(|(key, list)| (*key, &list.reader))
    }
}

impl Share {
    /// A peer wants to know what we share, or what we have fetched.
    pub(super) fn on_list(
        &mut self,
        ctx: &mut Context,
        key: Key,
        listing: Listing,
        is_fetch_list: bool,
    ) {
        let hash_first = listing.hash_first;
        let list = if is_fetch_list { &self.fetched } else { &self.catalog };
        let reader = Reader::new(list, listing);
        self.lists.readers.insert(key, ListReader { reader, is_fetch_list, is_sending: false });
        self.serve_list(ctx, key);
        if hash_first {
            self.hash_next(ctx);
        }
    }

    /// Sends the next page, if there is one.
    fn serve_list(&mut self, ctx: &mut Context, key: Key) {
        let now = ctx.now;
        let Some(list) = self.lists.readers.get_mut(&key).filter(|list| !list.is_sending) else {
            return;
        };
        let catalog = if list.is_fetch_list { &self.fetched } else { &self.catalog };
        if let Some((page, entries)) = list.reader.poll_page(now, catalog, usize::MAX)
            && let Some(connection) = ctx.session_on(key.0)
        {
            connection.session.answer_page(now, key.1, page, list.is_fetch_list, &entries);
            list.is_sending = true;
            ctx.pump(key.0);
        } else if let Some(at) = list.reader.poll_timeout(catalog) {
            ctx.deadlines.arm(LISTS, at);
        }
        if list.reader.is_over() {
            self.lists.remove(key);
        }
    }

    /// A page is sent whole.
    pub(super) fn on_page_sent(&mut self, ctx: &mut Context, key: Key) {
        if let Some(list) = self.lists.readers.get_mut(&key) {
            list.is_sending = false;
            self.serve_list(ctx, key);
        }
    }

    /// Something has changed, or a page is due.
    pub(super) fn on_lists_due(&mut self, ctx: &mut Context) {
        for key in self.lists.readers.keys().copied().collect::<Vec<_>>() {
            self.serve_list(ctx, key);
        }
    }

    /// Readers are told of changes, all those of one turn together.
    pub(super) fn tell_readers(&self, ctx: &mut Context) {
        if !self.lists.readers.is_empty() {
            ctx.deadlines.arm(LISTS, ctx.now);
        }
    }

    /// Returns the next file to hash for a reader that asked for that: each of them in turn.
    pub(super) fn next_asked_for(&mut self, ctx: &Context) -> Option<PathId> {
        let asked_for = self.lists.in_turn().find_map(|(key, reader)| {
            let ids = self.catalog.unhashed(reader.hashes_first()?);
            let mut ids = ids.filter_map(|path| ctx.paths.id_of(path));
            Some((key, ids.find(|id| self.index.is_unhashed(*id))?))
        });
        let (key, path) = asked_for?;
        self.lists.hashed_for = Some(key);
        Some(path)
    }
}
