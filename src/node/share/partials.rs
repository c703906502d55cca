//! Contents that we fetch: what is verified of them is given, from the first block on (S1).
//!
//! Those of one block are not here: they are given once they are whole.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Share;
use super::giving::NOT_HELD;
use crate::content::{BlockSet, Content, ContentId, Value};
use crate::node::gather::contents::Holding;
use crate::node::peer::Context;
use crate::node::{ConnectionId, PathId};
use crate::proto::FileId;
use crate::wire::FilePath;

#[derive(Debug, Default)]
pub(super) struct Partials {
    by_content: BTreeMap<Content, Partial>,
}

/// A content that is fetched.
#[derive(Debug)]
pub(super) struct Partial {
    /// Where it is to stand. The path is held while it is fetched.
    pub(super) path: PathId,
    /// The file that is written to.
    pub(super) file: FileId,
    /// The blocks that are verified and written.
    pub(super) held: BlockSet,
    /// Known once a right manifest came.
    pub(super) values: Option<Rc<[Value]>>,
}

impl Partials {
    pub(super) fn get(&self, content: &Content) -> Option<&Partial> {
        self.by_content.get(content)
    }

    /// Returns a content with this id.
    pub(super) fn find_id(&self, id: &ContentId) -> Option<(&Content, &Partial)> {
        let begin = Content { id: *id, size_bytes: 0 };
        self.by_content.range(begin..).next().filter(|(content, _)| content.id == *id)
    }
}

impl Partial {
    /// Returns whether all these blocks are held.
    pub(super) fn holds(&self, first: u32, count: u32) -> bool {
        (first..first.saturating_add(count)).all(|block| self.held.contains(block))
    }
}

impl Share {
    /// What we hold of a content that we fetch has changed; `is_known` says whether the other
    /// side of a session is known to hold a block of it.
    pub(crate) fn on_holding(
        &mut self,
        ctx: &mut Context,
        holding: Holding,
        is_known: impl Fn(ConnectionId, u32) -> bool,
    ) {
        match holding {
            Holding::Begun { content, path, file } => {
                let held = BlockSet::none(content.blocks());
                let partial = Partial { path, file, held, values: None };
                self.partials.by_content.insert(content, partial);
                self.note_fetched(ctx, &content, true);
            }
            Holding::Values { content, values } => {
                if let Some(partial) = self.partials.by_content.get_mut(&content) {
                    partial.values = Some(Rc::clone(&values));
                    self.manifests.insert(content.id, values);
                }
            }
            Holding::Block { content, block } => {
                if let Some(partial) = self.partials.by_content.get_mut(&content)
                    && partial.held.insert(block)
                {
                    self.told.note_block(content.id, block, is_known);
                }
            }
            Holding::Over { content } => self.end_partial(ctx, &content),
        }
    }

    fn note_fetched(&mut self, ctx: &Context, content: &Content, is_fetched: bool) {
        if let Some(settings) = &ctx.settings.beacons {
            for key in &settings.tag_keys {
                self.unshown.note_fetched(key, &content.id, is_fetched);
            }
        }
    }

    /// Lists a file that was fetched under the path that it was fetched from.
    pub(crate) fn list_fetched(&mut self, ctx: &mut Context, listed_as: FilePath, saved: PathId) {
        if let Some(local) = self.index.get(saved).filter(|local| local.id.is_some()) {
            self.fetched.put(listed_as, local.entry_state());
            self.tell_readers(ctx);
        }
    }

    /// A content is fetched no more: it is whole, or given up.
    fn end_partial(&mut self, ctx: &mut Context, content: &Content) {
        let Some(Partial { path, .. }) = self.partials.by_content.remove(content) else { return };
        self.note_fetched(ctx, content, false);
        match self.index.find(content) {
            Some(whole) => self.give_from_whole(ctx, path, whole),
            None => self.end_content(ctx, path, content, NOT_HELD),
        }
    }
}
