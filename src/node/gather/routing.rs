//! The way between sessions, contents and wishes: answers, and what became of files.

use super::contents::{ContentEvent, Contents, How, Wanted};
use super::files::Begun;
use super::report::{Giver, WishReport};
use super::settling::tell;
use super::{Gather, Others};
use crate::node::peer::Context;
use crate::node::share::Share;
use crate::node::{ConnectionId, FetchError, PathId, Report};
use crate::proto::v1::SessionEvent;

impl Gather {
    /// A request of ours on a session was answered, in part or whole, or has failed; `bytes` are
    /// those in which the range of data lies.
    pub(crate) fn on_answer(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        id: ConnectionId,
        (answer, bytes): (SessionEvent, &[u8]),
    ) {
        match answer {
            SessionEvent::Page { req, page, entries } => {
                self.on_page(ctx, others, (id, req), page, &entries);
            }
            SessionEvent::Held { req, size_bytes, .. } if self.asked(id, req) => {
                self.on_size(ctx, others, (id, req), size_bytes);
            }
            SessionEvent::Failed { req, error, .. } if self.asked(id, req) => {
                self.on_failed(ctx, others, (id, req), error);
            }
            answer => {
                others.contents.on_event(ctx, id, answer, bytes);
            }
        }
    }

    /// Returns whether a request is one of finding.
    fn asked(&self, id: ConnectionId, req: u32) -> bool {
        let source = self.sources.get(&id);
        source.is_some_and(|it| it.held.contains_key(&req) || it.lists.contains_key(&req))
    }

    /// Begins as many files as may be fetched at once.
    pub(super) fn begin_files(&mut self, ctx: &mut Context, contents: &mut Contents) {
        while let Some(Begun { path, content, attributes, sources }) = self.files.begin(ctx) {
            contents.want(ctx, Wanted { path, content, attributes }, &sources);
        }
    }

    /// Does what follows from what became of files.
    pub(crate) fn take_events(&mut self, ctx: &mut Context, others: &mut Others<'_>) {
        let mut has_ended = false;
        while let Some(event) = others.contents.poll_event() {
            match event {
                ContentEvent::Done { path, saved, how, .. } => {
                    has_ended = true;
                    self.on_done(ctx, others, (path, saved), how);
                }
                ContentEvent::Failed { path, error } => {
                    has_ended = true;
                    let is_all = self.is_sole(path) && ctx.guest().is_some();
                    ctx.report(Report::FetchFailed { path, error, is_all });
                    self.on_file_ended(ctx, others, path, Err((error, is_all)));
                }
                ContentEvent::NoSource { path } => {
                    if !self.replace(ctx, others, path)
                        && let Some(path) = ctx.paths.get(path).cloned()
                    {
                        tell(ctx, WishReport::NoSource { path });
                    }
                }
                ContentEvent::StruckOut { path, source } => self.on_struck_out(ctx, path, source),
            }
        }
        if has_ended {
            self.look(ctx, others);
        }
    }

    fn on_done(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        (path, saved): (PathId, PathId),
        how: How,
    ) {
        let known = self.files.active_at(path);
        if let (Some(active), Some(path)) = (known, ctx.paths.get(path).cloned()) {
            let content = active.content;
            match &how {
                How::Fetched { from } => {
                    let elapsed = ctx.now.saturating_duration_since(active.began);
                    let from = from.iter();
                    let from = from.map(|them| Giver { peer: them.peer, name: them.name });
                    let from = from.collect();
                    tell(ctx, WishReport::Fetched { path, content, from, elapsed });
                }
                How::Copied => tell(ctx, WishReport::Copied { path, content }),
                How::Found => ctx.report(Report::Identical { path: saved }),
                How::Skipped => ctx.report(Report::Skipped { path: saved }),
            }
        }
        if matches!(how, How::Fetched { .. } | How::Copied) {
            self.list_fetched(ctx, others.share, (path, saved));
        }
        if saved != path {
            ctx.report(Report::SavedAs { wanted: path, path: saved });
        }
        self.on_file_ended(ctx, others, path, Ok(()));
    }

    /// Others that fetch the same are told that we have a file: under the path that it has at its
    /// sources, unless it is stored without its folders or under a name of the user.
    fn list_fetched(&self, ctx: &mut Context, share: &mut Share, (path, saved): (PathId, PathId)) {
        let wish = self.files.active_at(path).and_then(|it| self.wishes.get(&it.wish));
        let is_by_path = wish.is_some_and(|job| !job.wish.is_content());
        if is_by_path
            && !ctx.settings.gather.is_flat
            && let Some(listed_as) = ctx.paths.get(path).cloned()
        {
            share.list_fetched(ctx, listed_as, saved);
        }
    }

    fn on_struck_out(&mut self, ctx: &mut Context, path: PathId, source: ConnectionId) {
        self.files.note_wrong(path);
        let them = ctx.session_on(source).and_then(|connection| connection.them);
        if let (Some(them), Some(path)) = (them, ctx.paths.get(path).cloned()) {
            let from = Giver { peer: them.peer, name: them.name };
            tell(ctx, WishReport::StruckOut { path, from });
        }
    }

    /// Returns whether nothing but this file is wanted.
    fn is_sole(&self, path: PathId) -> bool {
        self.wishes.len() == 1
            && self.wishes.values().all(|job| job.open == 1 && job.wish.one_file().is_some())
            && self.files.active_at(path).is_some()
    }

    /// A file will not be fetched: the time is up.
    pub(super) fn give_file_up(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        path: PathId,
    ) {
        let discards = ctx.settings.gather.discards;
        others.contents.withdraw(ctx, path, discards);
        let was_wrong = self.files.active_at(path).is_some_and(|active| active.was_wrong);
        let error = match was_wrong {
            true => FetchError::ChecksumWrong,
            false => FetchError::NotGiven(None),
        };
        let is_all = self.is_sole(path);
        ctx.report(Report::FetchFailed { path, error, is_all });
        self.on_file_ended(ctx, others, path, Err((error, is_all)));
    }
}
