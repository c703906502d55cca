//! What a program that only looks is told: all that is listed of its wishes.

use std::collections::BTreeSet;
use std::time::Instant;

use super::finding::window;
use super::listings::Item;
use super::sources::Progress;
use super::{Gather, Giver};
use crate::content::ContentId;
use crate::limits::ANSWER_WINDOW_MAX;
use crate::node::peer::{Context, RegistryUse};
use crate::node::peers::Peers;
use crate::wire::v1::EntryState;
use crate::wire::{FilePath, PeerId};

/// A file, or an empty folder, as some peers list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// Which wish means it, in their order.
    pub wish: usize,
    pub path: FilePath,
    /// What it is; never removed.
    pub state: EntryState,
    /// Who lists it so.
    pub givers: Vec<Giver>,
}

impl ListedEntry {
    /// Returns its size in bytes; 0 of a folder.
    pub fn size_bytes(&self) -> u64 {
        match self.state {
            EntryState::File { content, .. } => content.size_bytes,
            EntryState::Unhashed { size_bytes, .. } => size_bytes,
            EntryState::EmptyFolder | EntryState::Removed => 0,
        }
    }

    /// Returns when it was changed, in nanoseconds since 1970; `None` of a folder.
    pub fn modified_ns(&self) -> Option<u64> {
        match self.state {
            EntryState::File { modified_ns, .. } | EntryState::Unhashed { modified_ns, .. } => {
                Some(modified_ns)
            }
            EntryState::EmptyFolder | EntryState::Removed => None,
        }
    }

    /// Returns its id, if a peer has hashed it.
    pub fn id(&self) -> Option<ContentId> {
        match self.state {
            EntryState::File { content, .. } => Some(content.id),
            _ => None,
        }
    }

    pub fn is_file(&self) -> bool {
        self.modified_ns().is_some()
    }
}

impl Gather {
    /// Returns all that is listed of the wishes: in their order, by path, and what differs under
    /// one path apart.
    pub(crate) fn listed(&self, ctx: &Context) -> Vec<ListedEntry> {
        let mut listed: Vec<ListedEntry> = Vec::new();
        for (number, job) in self.wishes.values().enumerate() {
            for Item { path, state, from } in self.listings.items(&job.wish) {
                let Some(giver) = giver(ctx, from) else { continue };
                let is_same = |entry: &&mut ListedEntry| {
                    entry.wish == number && entry.path == *path && is_alike(&entry.state, &state)
                };
                // What stands under one path stands together.
                let mut same = listed.iter_mut().rev().take_while(|entry| entry.path == *path);
                match same.find(is_same) {
                    Some(entry) => entry.givers.push(giver),
                    None => listed.push(ListedEntry {
                        wish: number,
                        path: path.clone(),
                        state,
                        givers: vec![giver],
                    }),
                }
            }
        }
        listed
    }

    /// Returns whether more is listed than can be kept.
    pub(crate) fn lists_too_much(&self) -> bool {
        self.listings.is_full()
    }

    /// Returns the peers that have listed all that they were asked for.
    pub(crate) fn answered(&self, ctx: &Context) -> BTreeSet<PeerId> {
        let whole = self.sources.iter().filter(|(_, source)| {
            !source.lists.is_empty()
                && source.lists.values().all(|list| list.progress == Progress::Whole)
        });
        whole.filter_map(|(id, _)| Some(giver(ctx, *id)?.peer)).collect()
    }

    /// Returns until when peers may answer (F20): some are beyond our network.
    pub(crate) fn window_end(&self, ctx: &Context, peers: &Peers) -> Option<Instant> {
        let first = self.wishes.values().min_by_key(|job| job.began)?;
        let is_named = ctx.settings.registry_use == RegistryUse::Named;
        let waits = is_named && peers.listing.is_awaited(ctx, &peers.link)
            || self.wishes.values().any(|job| self.is_beyond_asked(ctx.now, job));
        Some(first.began + if waits { ANSWER_WINDOW_MAX } else { window(peers) })
    }

    /// Returns whether a peer is reading its list to us.
    pub(crate) fn is_being_read(&self) -> bool {
        let mut lists = self.sources.values().flat_map(|source| source.lists.values());
        lists.any(|list| list.progress == Progress::Begun)
    }
}

fn giver(ctx: &Context, id: crate::node::ConnectionId) -> Option<Giver> {
    let them = ctx.connections.get(id)?.them()?;
    Some(Giver { peer: them.peer, name: them.name })
}

/// Whether two peers list the same, but for its times.
fn is_alike(one: &EntryState, other: &EntryState) -> bool {
    match (one, other) {
        (EntryState::File { content: one, .. }, EntryState::File { content: other, .. }) => {
            one == other
        }
        (
            EntryState::Unhashed { size_bytes: one, .. },
            EntryState::Unhashed { size_bytes: other, .. },
        ) => one == other,
        (one, other) => one == other,
    }
}
