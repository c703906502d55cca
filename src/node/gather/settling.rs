//! A wish becomes the files that it means, once those that list it had the time to answer (F20,
//! F21); or it is ambiguous, or goes to version 0.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::contents::Contents;
use super::files::{Files, Taken};
use super::finding::window;
use super::job::{Job, State, WishId};
use super::listings::{self, Ambiguity, Found, FoundFile, Resolution};
use super::report::{Candidate, Giver, Listed, WishReport};
use super::wish::{Restriction, Wish};
use super::{Gather, Others};
use crate::content::{Content, FileError, InTheWay};
use crate::limits::{ANSWER_WINDOW_MAX, FIND_BY_TAG_TIME, VERSION_0_AFTER, WISH_TOLD_AFTER};
use crate::node::fetch::Fetch;
use crate::node::peer::Context;
use crate::node::peers::Peers;
use crate::node::{Action, ConnectionId, FetchError, Report};
use crate::wire::FilePath;
use crate::wire::v0::FileName;
use crate::wire::v1::{Entry, EntryState, PeerName};

impl Gather {
    /// Looks at each wish that is sought.
    pub(super) fn settle(&mut self, ctx: &mut Context, others: &mut Others<'_>) {
        if ctx.settings.gather.only_looks {
            return;
        }
        let handed_over = self.wishes.iter().filter(|(_, job)| job.state == State::HandedOver);
        let is_done = |job: &Job| !others.fetch.is_wanted(ctx, &job.wish);
        let done = handed_over.filter(|(_, job)| is_done(job)).map(|(id, _)| *id);
        for id in done.collect::<Vec<_>>() {
            self.end_wish(ctx, others, id);
        }
        let sought = self.wishes.iter().filter(|(_, job)| job.is_sought());
        for id in sought.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.settle_one(ctx, others, id);
        }
        let fetching = self.wishes.iter().filter(|(_, job)| job.state == State::Fetching);
        for id in fetching.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_wish_if_done(ctx, others, id);
        }
        let is_due = |job: &Job| !job.names.is_empty() && ctx.now >= job.began + VERSION_0_AFTER;
        let due = self.wishes.iter().filter(|(_, job)| is_due(job));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(job) = self.wishes.get_mut(&id) else { continue };
            let names = std::mem::take(&mut job.names);
            others.fetch.want(ctx, others.peers, others.share, &names);
            self.end_wish_if_done(ctx, others, id);
        }
    }

    fn settle_one(&mut self, ctx: &mut Context, others: &mut Others<'_>, id: WishId) {
        let Some(job) = self.wishes.get(&id) else { return };
        let is_listed = !job.sizes.is_empty() || self.listings.has(&job.wish);
        let answers_until = self.answers_until(ctx, others.peers, job);
        match job.state {
            State::Seeking if is_listed => {
                self.set_state(id, State::Answering { until: answers_until });
            }
            State::Seeking => return self.on_unlisted(ctx, others, id),
            State::HandedOver if is_listed => {
                let path = job.wish.name().and_then(|name| ctx.paths.find(name.as_str()));
                // A transfer by version 0 that has begun goes on.
                if path.is_some_and(|path| !others.fetch.give_back(ctx, others.peers, path)) {
                    return;
                }
                self.set_state(id, State::Answering { until: answers_until });
            }
            State::Answering { .. } if !is_listed => self.set_state(id, State::Seeking),
            _ => {}
        }
        let Some(job) = self.wishes.get(&id) else { return };
        let root = job.wish.root();
        match job.state {
            State::Answering { until } if ctx.now >= until => {
                let has_size = !job.sizes.is_empty();
                let is_being_listed =
                    self.is_being_listed(ctx.now, root) || self.is_beyond_asked(ctx.now, job);
                if has_size || !is_being_listed {
                    self.resolve(ctx, others, id);
                }
            }
            _ => {}
        }
    }

    /// Returns until when others may answer. A content has one meaning, and of the peers that
    /// the user named each is asked anyway.
    fn answers_until(&self, ctx: &Context, peers: &Peers, job: &Job) -> Instant {
        let is_certain =
            job.wish.whole_id().is_some() || self.is_listed_by_given(ctx.now, job.wish.root());
        match is_certain {
            true => ctx.now,
            false => job.began + window(peers),
        }
    }

    fn set_state(&mut self, id: WishId, state: State) {
        if let Some(job) = self.wishes.get_mut(&id) {
            job.state = state;
        }
    }

    /// Returns when something is to be done about a wish.
    pub(super) fn wish_due_at(&self, ctx: &Context, job: &Job) -> Option<Instant> {
        let later = |at: &Instant| *at > ctx.now;
        match job.state {
            State::Answering { until } => {
                let beyond = job.asks_beyond.then_some(job.began + ANSWER_WINDOW_MAX);
                [until].into_iter().chain(beyond).filter(later).min()
            }
            State::Seeking | State::HandedOver => {
                let after = [FIND_BY_TAG_TIME, VERSION_0_AFTER, WISH_TOLD_AFTER];
                after.map(|after| job.began + after).into_iter().filter(later).min()
            }
            State::Fetching if !job.names.is_empty() => Some(job.began + VERSION_0_AFTER),
            State::Fetching | State::Ended => None,
        }
    }

    /// Nobody of version 1 lists it: version 0 may, after a while.
    fn on_unlisted(&mut self, ctx: &mut Context, others: &mut Others<'_>, id: WishId) {
        let Some(job) = self.wishes.get_mut(&id) else { return };
        // Without beacons, named peers and those of the registry nobody of version 1 can be found.
        let Peers { listing, link, .. } = &*others.peers;
        let is_listing = listing.len() > 0 || listing.is_awaited(ctx, link);
        let is_version_0_alone =
            ctx.settings.beacons.is_none() && self.given.is_empty() && !is_listing;
        let is_due = is_version_0_alone || ctx.now >= job.began + VERSION_0_AFTER;
        let is_due = is_due && !job.was_handed_over;
        if is_due && self.hand_over(ctx, others, id) {
            return;
        }
        let Some(job) = self.wishes.get_mut(&id) else { return };
        // Some may share it without showing it, and the user is told what there is.
        if job.tag.is_some() && ctx.now >= job.began + VERSION_0_AFTER && !job.looks_around {
            job.looks_around = true;
            others.peers.beacons.look_around(ctx);
        }
        if ctx.now >= job.began + WISH_TOLD_AFTER && !job.is_told {
            job.is_told = true;
            let (wish, names) = (job.wish.to_string(), self.names.iter().cloned().collect());
            tell(ctx, WishReport::Waiting { wish, names });
        }
    }

    /// Hands a wish over to version 0, if that may have it. Returns whether it does.
    pub(super) fn hand_over(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        id: WishId,
    ) -> bool {
        let Some(job) = self.wishes.get_mut(&id).filter(|job| !job.was_handed_over) else {
            return false;
        };
        job.was_handed_over = true;
        let settings = &ctx.settings.gather;
        let (name, pattern) = (job.wish.name(), job.wish.name_pattern());
        if !settings.from.is_empty() || settings.is_dry_run || name.is_none() && pattern.is_none() {
            return false;
        }
        job.state = State::HandedOver;
        self.count(ctx);
        let Others { peers, share, fetch, .. } = others;
        if let Some(name) = name {
            fetch.want(ctx, peers, share, &[name]);
        }
        if let Some(pattern) = pattern {
            fetch.want_matching(ctx, peers, share, &[pattern], None);
        }
        true
    }

    /// Tells the user if several peers have a name to which sources are restricted.
    fn has_same_name(&self, ctx: &mut Context) -> bool {
        let mut by_name: BTreeMap<PeerName, Vec<_>> = BTreeMap::new();
        for (&id, source) in self.sources.iter().filter(|(_, source)| source.is_open()) {
            if let Some(them) = ctx.session_on(id).and_then(|connection| connection.them) {
                by_name.entry(them.name).or_default().push((them.peer, source.address));
            }
        }
        let from = &ctx.settings.gather.from;
        let is_named = |name: &PeerName| from.contains(&Restriction::Name(*name));
        let same = by_name.into_iter().find(|(name, peers)| peers.len() > 1 && is_named(name));
        let Some((name, peers)) = same else { return false };
        tell(ctx, WishReport::SameName { name, peers });
        true
    }

    fn resolve(&mut self, ctx: &mut Context, others: &mut Others<'_>, id: WishId) {
        if self.has_same_name(ctx) {
            return self.fail_wish(ctx, others, id, FetchError::Ambiguous);
        }
        let Some(job) = self.wishes.get(&id) else { return };
        let resolution = match most_told(job) {
            Some((content, sources)) => Resolution::Found(of_content(&job.wish, content, sources)),
            None => self.listings.resolve(&job.wish, ctx.settings.gather.with_hidden),
        };
        match resolution {
            Resolution::Nothing => self.set_state(id, State::Seeking),
            Resolution::TooMany => self.fail_wish(ctx, others, id, FetchError::TooManyFiles),
            Resolution::Ambiguous(ambiguity) => {
                self.report_ambiguous(ctx, id, ambiguity);
                self.fail_wish(ctx, others, id, FetchError::Ambiguous);
            }
            Resolution::Found(found) => self.on_found(ctx, others, id, found),
        }
    }

    fn report_ambiguous(&self, ctx: &mut Context, id: WishId, ambiguity: Ambiguity) {
        let Some(job) = self.wishes.get(&id) else { return };
        let wish = job.wish.to_string();
        let mut candidates = Vec::new();
        for listings::Candidate { from, path, state } in ambiguity.candidates {
            let Some(connection) = ctx.session_on(from) else { continue };
            let Some(them) = connection.them else { continue };
            let peer = Giver { peer: them.peer, name: them.name };
            candidates.push(Candidate { peer, address: connection.address, path, state });
        }
        tell(ctx, WishReport::Ambiguous { wish: wish.clone(), candidates: candidates.len() });
        for candidate in candidates {
            tell(ctx, WishReport::OneOf { wish: wish.clone(), candidate });
        }
    }

    fn on_found(&mut self, ctx: &mut Context, others: &mut Others<'_>, id: WishId, found: Found) {
        let Some(job) = self.wishes.get_mut(&id) else { return };
        job.state = State::Fetching;
        let Found { mut files, folders, misplaced, hidden } = found;
        let wish = job.wish.clone();
        let mut sources: Vec<_> = files.iter().flat_map(|file| &file.sources).collect();
        sources.sort_unstable();
        sources.dedup();
        let listed = Listed {
            wish: wish.to_string(),
            files: files.len(),
            size_bytes: files.iter().map(|file| file.size_bytes).sum(),
            sources: sources.len(),
            hidden,
        };
        tell(ctx, WishReport::Listed(listed));
        for path in misplaced {
            let components = path.components().count().saturating_sub(1) as u8;
            let in_the_way = InTheWay { components, is_link: false };
            self.tally.fail(FetchError::File(FileError::NoFolder(in_the_way)), false);
            tell(ctx, WishReport::Misplaced { path });
        }
        if ctx.settings.gather.is_dry_run {
            for file in files {
                self.tally.done += 1;
                let (path, size_bytes) = (file.path, file.size_bytes);
                let id = file.content.map(|content| content.id);
                tell(ctx, WishReport::WouldFetch { path, size_bytes, id });
            }
            return self.end_wish(ctx, others, id);
        }
        if let (Some(tag), true) = (job.tag, ctx.gives()) {
            others.peers.beacons.show(tag);
            job.is_shown = true;
        }
        if !ctx.settings.gather.is_flat {
            for folder in folders {
                let path = ctx.paths.intern(&folder);
                ctx.paths.hold(path);
                self.folders.insert(path, id);
                if let Some(job) = self.wishes.get_mut(&id) {
                    job.open += 1;
                }
                ctx.act(Action::MakeFolder(path));
            }
        }
        // A transfer by version 0 that has begun goes on.
        let is_left =
            |fetch: &mut Fetch, peers: &mut Peers, ctx: &mut Context, file: &FoundFile| {
                let path = file.path.name().and_then(|name| ctx.paths.find(name.as_str()));
                path.is_none_or(|path| fetch.give_back(ctx, peers, path))
            };
        files.retain(|file| is_left(others.fetch, others.peers, ctx, file));
        self.note_names(ctx, others.peers, id, &files);
        Files::sort(ctx, &mut files);
        for file in files {
            match file.content {
                Some(content) => self.add_file(ctx, id, &file, content),
                None => {
                    if let Some(job) = self.wishes.get_mut(&id) {
                        job.unhashed.insert(file.path.clone(), file);
                    }
                }
            }
        }
        self.on_wishes_changed(ctx);
        self.ask_all(ctx);
        self.end_wish_if_done(ctx, others, id);
    }

    /// Version 0 may offer other names that match: these are fetched, too.
    fn note_names(&mut self, ctx: &Context, peers: &Peers, id: WishId, files: &[FoundFile]) {
        let Some(job) = self.wishes.get_mut(&id) else { return };
        let Some(pattern) = job.wish.name_pattern().filter(|_| !job.was_handed_over) else {
            return;
        };
        job.was_handed_over = true;
        let names = peers.catalog.paths().filter_map(|path| ctx.paths.get(path)?.name());
        let listed: BTreeSet<_> = files.iter().filter_map(|file| file.path.name()).collect();
        // A file that is called like the pattern wins over it.
        if pattern.name().is_some_and(|name| listed.contains(&name)) {
            return;
        }
        let is_other = |name: &FileName| pattern.matches(name) && !listed.contains(name);
        job.names = names.filter(is_other).collect();
    }

    /// A file of a wish is to be fetched.
    fn add_file(&mut self, ctx: &mut Context, id: WishId, file: &FoundFile, content: Content) {
        for source in &file.sources {
            if let Some(source) = self.sources.get_mut(source) {
                source.is_useful = true;
            }
        }
        let Some(job) = self.wishes.get_mut(&id) else { return };
        let Some(stored_as) =
            stored_as(&job.wish, &file.path, content, ctx.settings.gather.is_flat)
        else {
            return;
        };
        match self.files.add(id, file, content, stored_as.clone()) {
            Taken::Queued => job.open += 1,
            Taken::Twice => {}
            Taken::Conflict => {
                let error = FetchError::File(FileError::Twin);
                let path = ctx.paths.intern(&stored_as);
                self.tally.fail(error, false);
                ctx.report(Report::FetchFailed { path, error, is_all: false });
            }
        }
    }

    /// What a source lists tells of files that it hashes.
    pub(super) fn on_hashed_entry(&mut self, ctx: &mut Context, from: ConnectionId, entry: &Entry) {
        let waiting = self.wishes.iter_mut().filter(|(_, job)| !job.unhashed.is_empty());
        let mut ready = Vec::new();
        for (&id, job) in waiting {
            let Some(file) = job.unhashed.get_mut(&entry.path) else { continue };
            match entry.state {
                EntryState::File { content, modified_ns, executable } => {
                    (file.modified_ns, file.executable) = (modified_ns, executable);
                    (file.size_bytes, file.sources) = (content.size_bytes, vec![from]);
                    ready.extend(job.unhashed.remove(&entry.path).map(|file| (id, file, content)));
                }
                EntryState::Unhashed { size_bytes, hashed_bytes, .. } if hashed_bytes > 0 => {
                    file.hashed_bytes = file.hashed_bytes.max(hashed_bytes);
                    let path = entry.path.clone();
                    tell(ctx, WishReport::HashingAtSource { path, hashed_bytes, size_bytes });
                }
                EntryState::Unhashed { .. } => {}
                EntryState::Removed | EntryState::EmptyFolder => {
                    file.sources.retain(|source| *source != from);
                }
            }
        }
        for (id, file, content) in ready {
            self.add_file(ctx, id, &file, content);
        }
        self.drop_unhashed(ctx);
    }

    /// A session is over: it hashes nothing any more.
    pub(super) fn forget_unhashed_at(&mut self, ctx: &mut Context, from: ConnectionId) {
        for file in self.wishes.values_mut().flat_map(|job| job.unhashed.values_mut()) {
            file.sources.retain(|source| *source != from);
        }
        self.drop_unhashed(ctx);
    }

    /// Gives up the files that nobody hashes any more.
    fn drop_unhashed(&mut self, ctx: &mut Context) {
        for job in self.wishes.values_mut() {
            let gone = job.unhashed.values().filter(|file| file.sources.is_empty());
            for path in gone.map(|file| file.path.clone()).collect::<Vec<_>>() {
                job.unhashed.remove(&path);
                let (path, error) = (ctx.paths.intern(&path), FetchError::NotShared);
                self.tally.fail(error, false);
                ctx.report(Report::FetchFailed { path, error, is_all: false });
            }
        }
    }

    /// A session lists a content, or holds some of it.
    pub(super) fn add_source(
        &mut self,
        ctx: &mut Context,
        contents: &mut Contents,
        content: &Content,
        from: ConnectionId,
    ) {
        if self.files.add_source(content, from) {
            if let Some(source) = self.sources.get_mut(&from) {
                source.is_useful = true;
            }
            contents.add_source(ctx, content, from);
        }
    }
}

pub(super) fn tell(ctx: &mut Context, report: WishReport) {
    ctx.report(Report::Wish(Box::new(report)));
}

/// Returns the size that most sources tell of a content, with these sources.
fn most_told(job: &Job) -> Option<(Content, Vec<ConnectionId>)> {
    let most = job.sizes.iter().max_by_key(|(_, sources)| sources.len());
    most.map(|(content, sources)| (*content, sources.clone()))
}

/// Returns the one file of a content by its id.
fn of_content(wish: &Wish, content: Content, sources: Vec<ConnectionId>) -> Found {
    let path = stored_as(wish, &FilePath::of_id(&content.id), content, false);
    let file = path.map(|path| FoundFile {
        path,
        size_bytes: content.size_bytes,
        content: Some(content),
        modified_ns: 0,
        executable: false,
        hashed_bytes: 0,
        sources,
    });
    Found { files: file.into_iter().collect(), ..Found::default() }
}

/// Returns under what a file is stored: a content under the name that the user gave, or its id.
fn stored_as(wish: &Wish, path: &FilePath, content: Content, is_flat: bool) -> Option<FilePath> {
    match wish {
        Wish::Content { stored_as: Some(path), .. } if !is_flat => Some(path.clone()),
        Wish::Content { stored_as: Some(path), .. } => {
            FilePath::new(path.components().last()?).ok()
        }
        Wish::Content { stored_as: None, .. } => Some(FilePath::of_id(&content.id)),
        _ if is_flat => FilePath::new(path.components().last()?).ok(),
        _ => Some(path.clone()),
    }
}
