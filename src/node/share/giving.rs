//! Blocks that are given on sessions.
//!
//! ```text
//!   G ──▶ Queued ──▶ Opening ──▶ Sending ──▶ sent whole: the file is stat again
//!            ▲          │           │ cancelled, or the file changed, within a frame
//!            └──────────┘           └──▶ Dropped ──▶ the frame is sent
//!     its file changed, another has the content
//! ```
//!
//! Each file is open once for all sessions, while it is needed. A session has at most
//! [`GETS_SENDING_MAX`] requests under way, and at most [`SOURCES_MAX`] files are open: the others
//! wait in `queued`.
//!
//! Invariants: `by_path` has each of `gets` once. A request that is not queued is among the `gets`
//! of the source of its path, or of the one that its path had; those are counted in `under_way`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Instant;

use super::{Share, Wake};
use crate::content::{Content, FileError, Version};
use crate::limits::{CONTENTS_GIVEN_REMEMBERED, GETS_SENDING_MAX, SOURCES_MAX, UPLOADS_SHOWN_MAX};
use crate::node::peer::{Context, FileUse, Wake as PeerWake};
use crate::node::{Action, ConnectionId, PathId, Report};
use crate::proto::v1::Line;
use crate::proto::{CloseReason, FileId};
use crate::wire::v1::SessionError;

const TURNS: PeerWake = PeerWake::Share(Wake::Turns);

/// Why nothing more of a content is given: what peers are told.
pub(super) type Gone = (SessionError, &'static str);
pub(super) const CHANGED: Gone = (SessionError::Changed, "the file changed");
pub(super) const NOT_HELD: Gone = (SessionError::NotFound, "not held any more");

/// A request, by its session and its number there.
pub(super) type Key = (ConnectionId, u32);

#[derive(Debug, Default)]
pub(super) struct Giving {
    pub(super) line: Line<ConnectionId>,
    gets: BTreeMap<Key, Get>,
    by_path: BTreeSet<(PathId, Key)>,
    books: BTreeMap<ConnectionId, Book>,
    sources: BTreeMap<FileId, Source>,
    /// The source of each path whose file is still the one that was opened.
    current: BTreeMap<PathId, FileId>,
    /// Sessions whose next request waits until a file is closed.
    starved: VecDeque<ConnectionId>,
    /// Sessions whose socket took nothing more when it was last tried.
    full: BTreeSet<ConnectionId>,
}

#[derive(Debug)]
struct Get {
    path: PathId,
    content: Content,
    /// The turn that it is on, for a content of several blocks.
    turn: Option<u32>,
    range: Range<u64>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Opening,
    Sending,
    /// A frame of it is sent to its end, and no more.
    Dropped,
}

/// What is kept of a session.
#[derive(Debug, Default)]
struct Book {
    queued: VecDeque<u32>,
    under_way: usize,
    /// The contents of which bytes were given, by a part of their ids, the last one first.
    given: VecDeque<u64>,
    uploads: BTreeMap<PathId, Given>,
}

/// How much of a file was given on a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) began: Instant,
    pub(crate) moved_at: Instant,
    pub(crate) bytes: u64,
    pub(crate) size_bytes: u64,
}

/// An open file. Its path is held.
#[derive(Debug)]
struct Source {
    path: PathId,
    /// Whether it is the partial file of a content that we fetch: it may grow, and what is held
    /// of it stays as it is.
    is_partial: bool,
    is_open: bool,
    /// Whether it is stat because something was sent of it.
    is_asked: bool,
    gets: BTreeSet<Key>,
}

impl Share {
    /// A peer requests blocks, which the content has.
    pub(super) fn on_get(
        &mut self,
        ctx: &mut Context,
        key: Key,
        turn: u32,
        content: Content,
        (first, count): (u32, u32),
    ) {
        let partial = self.partials.get(&content);
        let whole = self.index.find(&content);
        let Some(path) = whole.or_else(|| partial.map(|partial| partial.path)) else {
            return refuse(ctx, key, SessionError::NotFound, "not held");
        };
        let holds = whole.is_some() || partial.is_some_and(|partial| partial.holds(first, count));
        let turn = (content.blocks() > 1).then_some(turn);
        if let Some(turn) = turn
            && self.giving.line.handle_get(ctx.now, (key.0, turn), &content, count).is_err()
        {
            return refuse(ctx, key, SessionError::Refused, "no turn");
        }
        if !holds {
            let turn = turn.map(|turn| (key.0, turn));
            turn.into_iter().for_each(|turn| self.giving.line.give_back(turn, count));
            return refuse(ctx, key, SessionError::NotFound, "not held");
        }
        let last = first.saturating_add(count).saturating_sub(1);
        let range = content.block_range(first).start..content.block_range(last).end;
        self.giving.gets.insert(key, Get { path, content, turn, range, state: State::Queued });
        self.giving.by_path.insert((path, key));
        self.giving.books.entry(key.0).or_default().queued.push_back(key.1);
        self.give(ctx, key.0);
    }

    /// Begins to answer the next requests of a session, as many as may be under way.
    fn give(&mut self, ctx: &mut Context, id: ConnectionId) {
        loop {
            let giving = &mut self.giving;
            let Some(book) = giving.books.get_mut(&id) else { return };
            if book.under_way >= GETS_SENDING_MAX {
                return;
            }
            let Some(req) = book.queued.pop_front() else { return };
            let Some(get) = giving.gets.get_mut(&(id, req)) else { continue };
            let file = match giving.current.get(&get.path) {
                Some(file) => *file,
                None if giving.sources.len() >= SOURCES_MAX => {
                    book.queued.push_front(req);
                    if !giving.starved.contains(&id) {
                        giving.starved.push_back(id);
                    }
                    return;
                }
                None => {
                    let (path, file) = (get.path, ctx.open_file(FileUse::Given));
                    ctx.paths.hold(path);
                    let partial = self.partials.get(&get.content).filter(|it| it.path == path);
                    ctx.act(match partial.map(|partial| partial.file) {
                        Some(partial) => Action::OpenPartialSource { file, partial },
                        None => Action::OpenSource { file, path },
                    });
                    giving.sources.insert(file, Source::new(path, partial.is_some()));
                    giving.current.insert(path, file);
                    file
                }
            };
            (get.state, book.under_way) = (State::Opening, book.under_way + 1);
            let Some(source) = giving.sources.get_mut(&file) else { return };
            source.gets.insert((id, req));
            if source.is_open && source.is_partial {
                self.answer(ctx, file, (id, req));
            } else if source.is_open && !std::mem::replace(&mut source.is_asked, true) {
                // It may have changed since it was opened.
                ctx.act(Action::StatSource(file));
            }
        }
    }

    /// Answers a request with a file that is open.
    fn answer(&mut self, ctx: &mut Context, file: FileId, key: Key) {
        let now = ctx.now;
        let Some(get) = self.giving.gets.get_mut(&key) else { return };
        let Get { path, range, turn, content, .. } = get;
        get.state = State::Sending;
        let Some(connection) = ctx.session_on(key.0) else { return };
        let (to, is_large) = (connection.address, turn.is_some());
        connection.session.answer_data(now, key.1, file, range.clone(), is_large);
        let (path, size_bytes) = (*path, content.size_bytes);
        let book = self.giving.books.entry(key.0).or_default();
        let is_shown = book.uploads.len() < UPLOADS_SHOWN_MAX;
        if is_shown && !book.uploads.contains_key(&path) {
            let given = Given { began: now, moved_at: now, bytes: 0, size_bytes };
            book.uploads.insert(path, given);
            ctx.paths.hold(path);
            ctx.report_giving(Report::UploadStarted { path, to, size_bytes });
        }
        ctx.pump(key.0);
    }

    /// A file is open, or was stat again after some of it was sent.
    pub(crate) fn on_given_opened(&mut self, ctx: &mut Context, file: FileId, version: Version) {
        let Some(source) = self.giving.sources.get_mut(&file) else { return };
        (source.is_open, source.is_asked) = (true, false);
        let (path, is_partial) = (source.path, source.is_partial);
        if !is_partial && self.giving.current.get(&path) == Some(&file) {
            self.note_version(ctx, path, version);
        }
        match self.index.get(path).filter(|local| local.id.is_some()) {
            _ if is_partial => {}
            None => self.drop_gets(ctx, path, CHANGED),
            // Hashed again beside what is given.
            Some(local) if local.is_doubtful => {
                self.index.doubt_id(path);
                self.hash_next(ctx);
            }
            Some(_) => {}
        }
        if let Some(source) = self.giving.sources.get(&file) {
            let is_opening = |key: &&Key| {
                self.giving.gets.get(key).is_some_and(|get| get.state == State::Opening)
            };
            let opening: Vec<_> = source.gets.iter().filter(is_opening).copied().collect();
            opening.into_iter().for_each(|key| self.answer(ctx, file, key));
        }
        self.close_if_unused(ctx, file);
    }

    /// Data is sent whole, or a frame of a request that was dropped.
    pub(super) fn on_data_sent(&mut self, ctx: &mut Context, key: Key) {
        let Some(get) = self.giving.gets.get(&key) else { return };
        let (path, content, is_whole) = (get.path, get.content, get.state == State::Sending);
        let bytes = if is_whole { get.range.end - get.range.start } else { 0 };
        if is_whole {
            self.note_given(ctx, key.0, path, &content, bytes);
        }
        let file = self.end_get(ctx, key, bytes);
        if let Some(file) = file
            && let Some(source) = self.giving.sources.get_mut(&file)
        {
            let is_current = self.giving.current.get(&path) == Some(&file);
            if is_current && !source.is_partial && !std::mem::replace(&mut source.is_asked, true) {
                ctx.act(Action::StatSource(file));
            }
            self.close_if_unused(ctx, file);
        }
        self.give(ctx, key.0);
    }

    fn note_given(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        path: PathId,
        content: &Content,
        bytes: u64,
    ) {
        let now = ctx.now;
        let Some(book) = self.giving.books.get_mut(&id) else { return };
        let mark = mark(content);
        if !book.given.contains(&mark) {
            book.given.truncate(CONTENTS_GIVEN_REMEMBERED - 1);
            book.given.push_front(mark);
        }
        let Some(given) = book.uploads.get_mut(&path) else { return };
        (given.moved_at, given.bytes) = (now, given.bytes + bytes);
        let Given { began, size_bytes, .. } = *given;
        if given.bytes < size_bytes {
            return;
        }
        let elapsed = now.saturating_duration_since(began);
        (given.began, given.bytes) = (now, given.bytes - size_bytes);
        // It may be requested more than once.
        let is_over = given.bytes == 0 && !self.is_sending_more(id, path);
        if let Some(to) = ctx.session_on(id).map(|connection| connection.address) {
            ctx.report_giving(Report::UploadDone { path, to, size_bytes, elapsed });
        }
        if is_over {
            self.end_upload(ctx, id, path);
        }
    }

    /// Returns whether several requests for a file are answered on a session.
    fn is_sending_more(&self, id: ConnectionId, path: PathId) -> bool {
        let keys = (path, (id, 0))..=(path, (id, u32::MAX));
        let of_path =
            self.giving.by_path.range(keys).filter_map(|(_, key)| self.giving.gets.get(key));
        of_path.filter(|get| get.state == State::Sending).nth(1).is_some()
    }

    /// A request is over. Returns the source that it had.
    fn end_get(&mut self, ctx: &mut Context, key: Key, sent_bytes: u64) -> Option<FileId> {
        let now = ctx.now;
        let get = self.giving.gets.remove(&key)?;
        self.giving.by_path.remove(&(get.path, key));
        if let Some(turn) = get.turn
            && self.giving.line.handle_sent(now, (key.0, turn), sent_bytes)
            && let Some(connection) = ctx.session_on(key.0)
        {
            connection.session.end_theirs(now, turn);
        }
        self.give_turns(ctx);
        if get.state == State::Queued {
            return None;
        }
        if let Some(book) = self.giving.books.get_mut(&key.0) {
            book.under_way -= 1;
        }
        let mut sources = self.giving.sources.iter_mut();
        sources.find_map(|(file, source)| source.gets.remove(&key).then_some(*file))
    }

    /// A peer cancels a request for blocks.
    pub(super) fn cancel_get(&mut self, ctx: &mut Context, key: Key) {
        let is_sending =
            ctx.session_on(key.0).is_some_and(|connection| connection.session.is_sending(key.1));
        match self.giving.gets.get_mut(&key) {
            Some(get) if is_sending => get.state = State::Dropped,
            Some(_) => {
                let file = self.end_get(ctx, key, 0);
                file.into_iter().for_each(|file| self.close_if_unused(ctx, file));
                self.give(ctx, key.0);
            }
            None => {}
        }
    }

    /// A file is not what it was: its requests are refused, unless another file has the content
    /// and none of it was sent yet.
    pub(super) fn drop_gets(&mut self, ctx: &mut Context, path: PathId, why: Gone) {
        let file = self.giving.current.remove(&path);
        let keys = (path, (ConnectionId::MIN, 0))..=(path, (ConnectionId::MAX, u32::MAX));
        let of_path = self.giving.by_path.range(keys);
        for key in of_path.map(|(_, key)| *key).collect::<Vec<_>>() {
            let Some(get) = self.giving.gets.get(&key) else { continue };
            let (state, content) = (get.state, get.content);
            if state == State::Dropped {
                continue;
            }
            let other = self.index.find(&content).filter(|other| *other != path);
            match other {
                Some(other) if state != State::Sending => self.move_get(key, other),
                _ => self.refuse_get(ctx, key, why),
            }
            self.give(ctx, key.0);
        }
        file.into_iter().for_each(|file| self.close_if_unused(ctx, file));
    }

    /// Has a request of which nothing was sent answered from another file.
    fn move_get(&mut self, key: Key, path: PathId) {
        let giving = &mut self.giving;
        let Some(get) = giving.gets.get_mut(&key) else { return };
        giving.by_path.remove(&(get.path, key));
        giving.by_path.insert((path, key));
        get.path = path;
        if std::mem::replace(&mut get.state, State::Queued) != State::Queued {
            giving.sources.values_mut().for_each(|source| _ = source.gets.remove(&key));
            if let Some(book) = giving.books.get_mut(&key.0) {
                book.under_way -= 1;
                book.queued.push_front(key.1);
            }
        }
    }

    fn refuse_get(&mut self, ctx: &mut Context, key: Key, (error, text): Gone) {
        refuse(ctx, key, error, text);
        self.cancel_get(ctx, key);
    }

    /// A content that was given from its partial file is whole under this path. Requests that are
    /// under way go on with what is open.
    pub(super) fn give_from_whole(&mut self, ctx: &mut Context, path: PathId, whole: PathId) {
        let file = self.giving.current.remove(&path);
        let keys = (path, (ConnectionId::MIN, 0))..=(path, (ConnectionId::MAX, u32::MAX));
        for key in self.giving.by_path.range(keys).map(|(_, key)| *key).collect::<Vec<_>>() {
            if self.giving.gets.get(&key).is_some_and(|get| get.state == State::Queued) {
                self.move_get(key, whole);
            }
        }
        file.into_iter().for_each(|file| self.close_if_unused(ctx, file));
    }

    /// A file cannot be opened or read; it is closed.
    pub(crate) fn on_given_failed(&mut self, ctx: &mut Context, file: FileId, error: FileError) {
        let Some(source) = self.giving.sources.remove(&file) else { return };
        let path = source.path;
        let is_current = self.giving.current.get(&path) == Some(&file);
        let is_ours_to_tell = is_current && !source.is_partial;
        if is_current {
            self.giving.current.remove(&path);
        }
        let (code, text) = match error {
            FileError::Missing | FileError::Changed => (SessionError::Changed, "the file changed"),
            _ => (SessionError::Unreadable, "the file cannot be read"),
        };
        let now = ctx.now;
        for key in &source.gets {
            if let Some(connection) = ctx.session_on(key.0)
                && connection.session.is_sending(key.1)
            {
                // The frame that has begun cannot be ended.
                connection.abort(now, CloseReason::SourceChanged);
                ctx.connections.arm(key.0, now);
            }
            refuse(ctx, *key, code, text);
            self.end_get(ctx, *key, 0);
        }
        source.gets.iter().for_each(|(id, _)| self.give(ctx, *id));
        self.feed_starved(ctx);
        match error {
            _ if !is_ours_to_tell => {}
            FileError::Missing => self.lose_file(ctx, path, error),
            FileError::Changed => ctx.act(Action::Look(path)),
            _ => ctx.report(Report::ReadFailed { path, error }),
        }
        ctx.paths.release(path);
    }

    fn close_if_unused(&mut self, ctx: &mut Context, file: FileId) {
        let is_unused = |source: &Source| source.gets.is_empty() && !source.is_asked;
        if !self.giving.sources.get(&file).is_some_and(is_unused) {
            return;
        }
        let Some(source) = self.giving.sources.remove(&file) else { return };
        if self.giving.current.get(&source.path) == Some(&file) {
            self.giving.current.remove(&source.path);
        }
        ctx.discard(file);
        ctx.paths.release(source.path);
        self.feed_starved(ctx);
    }

    /// Sessions that waited for a file to be closed go on, one for each that was.
    fn feed_starved(&mut self, ctx: &mut Context) {
        if self.giving.sources.len() < SOURCES_MAX
            && let Some(id) = self.giving.starved.pop_front()
        {
            self.give(ctx, id);
        }
    }

    /// Gives turns to sessions that wait for them, as many as may be in use.
    pub(super) fn give_turns(&mut self, ctx: &mut Context) {
        let now = ctx.now;
        loop {
            let Giving { line, full, .. } = &mut self.giving;
            let Some(turn) = line.poll_turn(now, |id| full.contains(&id)) else { break };
            if let Some(connection) = ctx.session_on(turn.session) {
                connection.session.answer_turn(now, turn.req, turn.blocks);
                ctx.pump(turn.session);
            }
        }
        if let Some(at) = self.giving.line.poll_timeout(now) {
            ctx.deadlines.arm(TURNS, at);
        }
    }

    /// Takes turns back that are not used.
    pub(super) fn on_turns_due(&mut self, ctx: &mut Context) {
        let now = ctx.now;
        while let Some((id, req)) = self.giving.line.poll_expired(now) {
            if let Some(connection) = ctx.session_on(id) {
                connection.session.end_theirs(now, req);
                ctx.pump(id);
            }
        }
        self.give_turns(ctx);
    }

    /// The socket of a session took something, or nothing more.
    pub(crate) fn note_flow(&mut self, ctx: &mut Context, id: ConnectionId, is_full: bool) {
        match is_full {
            true if self.giving.line.has_waiting() => {
                if self.giving.full.insert(id) {
                    self.give_turns(ctx);
                }
            }
            true => _ = self.giving.full.insert(id),
            false => _ = self.giving.full.remove(&id),
        }
    }

    /// Nothing is given on a session any more.
    pub(super) fn end_giving(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        to: std::net::SocketAddrV4,
        reason: CloseReason,
    ) {
        self.giving.line.handle_lost(id);
        self.giving.full.remove(&id);
        self.giving.starved.retain(|starved| *starved != id);
        let of_session = self.giving.gets.range((id, 0)..=(id, u32::MAX));
        for key in of_session.map(|(key, _)| *key).collect::<Vec<_>>() {
            let file = self.end_get(ctx, key, 0);
            file.into_iter().for_each(|file| self.close_if_unused(ctx, file));
        }
        let book = self.giving.books.remove(&id).unwrap_or_default();
        for path in book.uploads.into_keys() {
            ctx.report_giving(Report::UploadFailed { path, to, reason });
            ctx.paths.release(path);
        }
        self.give_turns(ctx);
    }

    /// Returns whether bytes of this content were given on a session lately.
    pub(super) fn has_given(&self, id: ConnectionId, content: &Content) -> bool {
        self.giving.books.get(&id).is_some_and(|book| book.given.contains(&mark(content)))
    }

    /// A peer wants no more of a file.
    pub(super) fn end_upload(&mut self, ctx: &mut Context, id: ConnectionId, path: PathId) {
        if let Some(book) = self.giving.books.get_mut(&id)
            && book.uploads.remove(&path).is_some()
        {
            ctx.paths.release(path);
        }
    }

    /// Returns the file of a session of which something was given last.
    pub(crate) fn given_on(&self, id: ConnectionId) -> Option<(PathId, Given)> {
        let book = self.giving.books.get(&id)?;
        let last = book.uploads.iter().max_by_key(|(_, given)| given.moved_at)?;
        Some((*last.0, *last.1))
    }
}

impl Source {
    /// Returns a file that is being opened.
    fn new(path: PathId, is_partial: bool) -> Self {
        Self { path, is_partial, is_open: false, is_asked: false, gets: BTreeSet::new() }
    }
}

/// A number that tells contents apart, if not for ever.
fn mark(content: &Content) -> u64 {
    let id = content.id.0.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(id) ^ content.size_bytes
}

pub(super) fn refuse(ctx: &mut Context, key: Key, error: SessionError, text: &str) {
    refuse_for(ctx, key, error, 0, text);
}

/// Refuses a request, which may be made again after a time.
pub(super) fn refuse_for(
    ctx: &mut Context,
    key: Key,
    error: SessionError,
    wait_ms: u32,
    text: &str,
) {
    let now = ctx.now;
    if let Some(connection) = ctx.session_on(key.0) {
        connection.session.refuse(now, key.1, error, wait_ms, text);
        ctx.pump(key.0);
    }
}
