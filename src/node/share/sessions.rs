//! What is requested on sessions of version 1, by the rules of serving.

use std::collections::{BTreeMap, BTreeSet};

use super::giving::{Gone, Key, refuse, refuse_for};
use super::hashing::reverify_pause;
use super::partials::Partial;
use super::{Share, hash_again};
use crate::content::{BlockSet, Content, ContentId};
use crate::limits::{
    HASHED_BYTES_PER_MS, MANIFEST_WAIT_MS_MAX, MANIFEST_WAIT_MS_MIN, MORE_HELD_MAX,
    SESSIONS_PER_CONTENT_MAX, WAIT_RETRY_MS,
};
use crate::node::peer::Context;
use crate::node::{ConnectionId, PathId, Report};
use crate::proto::CloseReason;
use crate::proto::v1::{Listing, Request};
use crate::wire::v1::{SessionError, Verdict};

/// The sessions that are told which blocks of a content we hold.
///
/// Invariants: `by_key` and `by_content` have the same; `due` has those with something untold.
#[derive(Debug, Default)]
pub(super) struct Told {
    by_key: BTreeMap<Key, ToldOf>,
    by_content: BTreeMap<(ContentId, ConnectionId), usize>,
    due: BTreeSet<Key>,
}

/// A request to be told of the blocks of a content.
#[derive(Debug)]
struct ToldOf {
    id: ContentId,
    /// Blocks that are held since the last answer, each once.
    untold: Vec<u32>,
}

impl Told {
    /// Returns on how many sessions a content is told of.
    fn sessions(&self, id: ContentId) -> usize {
        let of_content = (id, ConnectionId::MIN)..=(id, ConnectionId::MAX);
        self.by_content.range(of_content).count()
    }

    fn insert(&mut self, key: Key, id: ContentId) {
        self.by_key.insert(key, ToldOf { id, untold: Vec::new() });
        *self.by_content.entry((id, key.0)).or_default() += 1;
    }

    fn remove(&mut self, key: Key) {
        let Some(ToldOf { id, .. }) = self.by_key.remove(&key) else { return };
        self.due.remove(&key);
        if let Some(count) = self.by_content.get_mut(&(id, key.0)) {
            *count -= 1;
            if *count == 0 {
                self.by_content.remove(&(id, key.0));
            }
        }
    }

    fn of_content(&self, id: ContentId) -> Vec<Key> {
        let sessions = self.by_content.range((id, ConnectionId::MIN)..=(id, ConnectionId::MAX));
        let keys = sessions
            .flat_map(|((_, session), _)| self.by_key.range((*session, 0)..=(*session, u32::MAX)));
        keys.filter(|(_, told)| told.id == id).map(|(key, _)| *key).collect()
    }

    /// One more block of a content is held: it is to be told to those that are not known to have
    /// it.
    pub(super) fn note_block(
        &mut self,
        id: ContentId,
        block: u32,
        is_known: impl Fn(ConnectionId, u32) -> bool,
    ) {
        for key in self.of_content(id) {
            if let Some(told) = self.by_key.get_mut(&key)
                && !is_known(key.0, block)
            {
                told.untold.push(block);
                self.due.insert(key);
            }
        }
    }
}

impl Share {
    /// A peer requests something.
    pub(crate) fn on_request(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        req: u32,
        request: Request,
    ) {
        let key = (id, req);
        match request {
            Request::List { since, path, watch, hash_first, fetch_list } => {
                let listing = Listing { since, root: path, watch, hash_first };
                self.on_list(ctx, key, listing, fetch_list);
            }
            Request::Blocks(content) => self.on_blocks(ctx, key, content),
            Request::Manifest(content) => self.on_manifest(ctx, key, content),
            Request::Wait(content) => self.on_wait(ctx, key, content),
            Request::Get { turn, content, first, count } => {
                self.on_get(ctx, key, turn, content, (first, count));
            }
        }
    }

    /// A peer asks which blocks of a content we hold: all, or the content is not ours.
    fn on_blocks(&mut self, ctx: &mut Context, key: Key, id: ContentId) {
        let whole = self.index.find_id(&id).filter(|content| content.size_bytes > 0);
        let whole = whole.map(|content| (content, BlockSet::all(content.blocks())));
        let in_part =
            || self.partials.find_id(&id).map(|(content, it)| (*content, it.held.clone()));
        let Some((content, blocks)) = whole.or_else(in_part) else {
            return refuse(ctx, key, SessionError::NotFound, "not held");
        };
        let is_told = self.told.by_content.contains_key(&(id, key.0));
        if !is_told && self.told.sessions(id) >= SESSIONS_PER_CONTENT_MAX {
            let (busy, text) = (SessionError::Busy, "too many peers ask for this content");
            return refuse_for(ctx, key, busy, WAIT_RETRY_MS, text);
        }
        self.told.insert(key, id);
        let now = ctx.now;
        if let Some(connection) = ctx.session_on(key.0) {
            connection.session.answer_held(now, key.1, content.size_bytes, blocks);
            ctx.pump(key.0);
        }
    }

    /// Returns whether a content of several blocks is held or fetched, or refuses the request.
    fn of_blocks(&self, ctx: &mut Context, key: Key, content: &Content) -> bool {
        let is_there = self.index.find(content).is_some() || self.partials.get(content).is_some();
        let (error, text) = match is_there {
            _ if content.size_bytes == 0 => (SessionError::NotUnderstood, "no bytes"),
            false => (SessionError::NotFound, "not held"),
            true if content.blocks() < 2 => (SessionError::Refused, "one block needs none"),
            true => return true,
        };
        refuse(ctx, key, error, text);
        false
    }

    fn on_manifest(&mut self, ctx: &mut Context, key: Key, content: Content) {
        if !self.of_blocks(ctx, key, &content) {
            return;
        }
        let of_partial = self.partials.get(&content).and_then(|partial| partial.values.clone());
        let Some(values) = of_partial.or_else(|| self.manifests.get(&content.id)) else {
            let Some(path) = self.index.find(&content) else {
                return refuse(ctx, key, SessionError::NotFound, "not there yet");
            };
            self.hash_again(ctx, path);
            let wait_ms = (content.size_bytes / HASHED_BYTES_PER_MS) as u32;
            let wait_ms = wait_ms.clamp(MANIFEST_WAIT_MS_MIN, MANIFEST_WAIT_MS_MAX);
            return refuse_for(ctx, key, SessionError::Busy, wait_ms, "hashing the file");
        };
        let now = ctx.now;
        if let Some(connection) = ctx.session_on(key.0) {
            connection.session.answer_manifest(now, key.1, values);
            ctx.pump(key.0);
        }
    }

    fn on_wait(&mut self, ctx: &mut Context, key: Key, content: Content) {
        if !self.of_blocks(ctx, key, &content) {
            return;
        }
        let has_some = |partial: &Partial| partial.held.count() > 0;
        if self.index.find(&content).is_none() && !self.partials.get(&content).is_some_and(has_some)
        {
            return refuse(ctx, key, SessionError::NotFound, "no block is held yet");
        }
        match self.giving.line.handle_wait(key.0, key.1, content) {
            true => self.give_turns(ctx),
            false => {
                let (busy, text) = (SessionError::Busy, "you wait for it already");
                refuse_for(ctx, key, busy, WAIT_RETRY_MS, text);
            }
        }
    }

    /// A peer cancels a request, or gives a turn back.
    pub(crate) fn on_cancelled(&mut self, ctx: &mut Context, id: ConnectionId, req: u32) {
        let key = (id, req);
        self.lists.remove(key);
        self.told.remove(key);
        self.giving.line.handle_cancel(id, req);
        self.cancel_get(ctx, key);
        self.give_turns(ctx);
    }

    /// An answer is sent whole: a page, a manifest or data.
    pub(crate) fn on_answer_sent(&mut self, ctx: &mut Context, id: ConnectionId, req: u32) {
        self.on_page_sent(ctx, (id, req));
        self.on_data_sent(ctx, (id, req));
    }

    /// A peer tells what became of our bytes. Others may say that, too: it counts only if some
    /// were sent to it.
    pub(crate) fn on_verdict(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        content: Content,
        verdict: Verdict,
    ) {
        let them = ctx.session_on(id).and_then(|connection| connection.them);
        let whole = self.index.find(&content);
        let path = whole.or_else(|| self.partials.get(&content).map(|partial| partial.path));
        let (Some(path), Some(them)) = (path, them) else { return };
        if !self.has_given(id, &content) {
            return;
        }
        self.end_upload(ctx, id, path);
        ctx.report_giving(Report::Verdict { path, peer: them.peer, name: them.name, verdict });
        if verdict == Verdict::Wrong && whole.is_some() {
            self.on_wrong_bytes(ctx, path);
        }
    }

    /// A peer says that bytes of a file are wrong: it is hashed again before more of it is given,
    /// but not too often.
    fn on_wrong_bytes(&mut self, ctx: &mut Context, path: PathId) {
        let Some(local) = self.index.get(path) else { return };
        let pause = reverify_pause(&local.version);
        match local.hashed_at.map(|at| at + pause).filter(|at| *at > ctx.now) {
            // Its readers wait for what it is by now, and may not ask again.
            Some(at) => ctx.deadlines.arm(hash_again(path), at),
            None => {
                self.forget_id(ctx, path);
                self.hash_next(ctx);
            }
        }
    }

    /// A content is held no more: what is open for it is refused.
    pub(super) fn end_content(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        content: &Content,
        why: Gone,
    ) {
        self.drop_gets(ctx, path, why);
        if self.index.find(content).is_some() {
            return;
        }
        let told = self.told.of_content(content.id);
        let waits = self.giving.line.revoke(content);
        for key in told.into_iter().chain(waits) {
            self.told.remove(key);
            refuse(ctx, key, why.0, why.1);
        }
        self.give_turns(ctx);
    }

    /// Tells peers of the blocks that are held since they were told last, as far as there is room.
    pub(crate) fn tell_held(&mut self, ctx: &mut Context) {
        let now = ctx.now;
        for key in self.told.due.iter().copied().collect::<Vec<_>>() {
            let Some(told) = self.told.by_key.get_mut(&key) else { continue };
            let Some(connection) = ctx.session_on(key.0) else { continue };
            if !connection.session.has_room_for_answers() {
                continue;
            }
            let rest = told.untold.split_off(told.untold.len().min(MORE_HELD_MAX as usize));
            let blocks = std::mem::replace(&mut told.untold, rest);
            if told.untold.is_empty() {
                self.told.due.remove(&key);
            }
            connection.session.answer_more_held(now, key.1, blocks);
            ctx.pump(key.0);
        }
    }

    /// A session is over.
    pub(crate) fn on_session_lost(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        from: std::net::SocketAddrV4,
        reason: CloseReason,
    ) {
        let keys = (id, 0)..=(id, u32::MAX);
        self.lists.remove_all(keys.clone());
        let told: Vec<_> = self.told.by_key.range(keys).map(|(key, _)| *key).collect();
        told.into_iter().for_each(|key| self.told.remove(key));
        self.end_giving(ctx, id, from, reason);
    }
}
