//! Programs of the same user that ask this one how it does, or for files.
//!
//! Serves at most [`CONTROL_CLIENTS_MAX`] of them; a new one evicts the oldest that waits for no
//! file. At most [`CONTROL_WAITING_MAX`] wait for files, with [`CONTROL_SEARCHES_MAX`] patterns
//! together; what more would is told that there is no room. A file that a program has asked
//! for is given up once nobody waits for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Connection, Context, PeerKind, PeerNode};
use crate::exit::ExitCode;
use crate::limits::{
    CONTROL_CLIENTS_MAX, CONTROL_FETCHES_OF_ALL_MAX, CONTROL_SEARCHES_MAX, CONTROL_WAITING_MAX,
};
use crate::node::paths::Paths;
use crate::node::{Action, ConnectionId, NamePattern, PathId, Report};
use crate::proto::CloseReason;
use crate::proto::control::{Asked, Fetched, Followed, News, Session, SessionState};
use crate::wire::FilePath;
use crate::wire::v0::FileName;

/// What the clients of a peer that has no room for more of them are told.
const NO_ROOM: &str = "too many programs wait for files of this peer; try again later";

#[derive(Debug, Default)]
pub(super) struct Programs {
    /// Their connections, the oldest first. Invariant: each is in the table.
    connections: VecDeque<ConnectionId>,
    /// What the user of this program wants, whoever else does.
    own: BTreeSet<FileName>,
    own_patterns: Vec<NamePattern>,
}

impl Programs {
    /// A connection is over.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.connections.retain(|other| *other != id);
    }

    /// The user of this program wants these.
    pub(super) fn want_ourselves(
        &mut self,
        names: impl IntoIterator<Item = FileName>,
        patterns: impl IntoIterator<Item = NamePattern>,
    ) {
        self.own.extend(names);
        self.own_patterns.extend(patterns);
    }

    fn is_own(&self, name: &FileName) -> bool {
        self.own.contains(name) || self.own_patterns.iter().any(|pattern| pattern.matches(name))
    }
}

impl Context {
    fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        match self.connections.get_mut(id)? {
            Connection::Program(session) => Some(session),
            _ => None,
        }
    }

    /// Returns whether this is a program that has not yet read all that it was told.
    pub(super) fn is_telling(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id);
        matches!(connection, Some(Connection::Program(session)) if session.transmit().is_some())
    }

    /// A program comes in. A guest ends by itself, and is asked nothing.
    pub(super) fn accept_program(&mut self) -> Option<ConnectionId> {
        if self.guest().is_some() {
            return None;
        }
        let session = Connection::Program(Box::new(Session::new(self.now)));
        let id = self.connections.accept_uncounted(session);
        // Only now: the slot of the one that goes is not free before it is closed.
        if self.programs.connections.len() >= CONTROL_CLIENTS_MAX {
            self.evict_program();
        }
        self.programs.connections.push_back(id);
        self.pump(id);
        Some(id)
    }

    fn evict_program(&mut self) {
        let is_idle = |id: &ConnectionId| match self.connections.get(*id) {
            Some(Connection::Program(session)) => !waits(session),
            _ => true,
        };
        let idle = self.programs.connections.iter().position(is_idle);
        if let Some(id) = idle.and_then(|idle| self.programs.connections.remove(idle)) {
            self.close(id, CloseReason::Evicted);
        }
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        let session = |id: &ConnectionId| match self.connections.get(*id) {
            Some(Connection::Program(session)) => Some(&**session),
            _ => None,
        };
        self.programs.connections.iter().filter_map(session)
    }

    /// Returns whether all that wait for files may.
    fn has_room_for_fetches(&self) -> bool {
        self.sessions().filter(|session| waits(session)).count() <= CONTROL_WAITING_MAX
            && self.fetches_of_programs() <= CONTROL_FETCHES_OF_ALL_MAX
    }

    /// Returns how many files programs wait for, each counted for each program.
    fn fetches_of_programs(&self) -> usize {
        self.sessions().map(|session| session.waits_for_how_many().0).sum()
    }

    /// Returns whether all patterns of programs may be searched for.
    fn has_room_for_searches(&self) -> bool {
        let searches = self.sessions().map(|session| session.waits_for_how_many().1);
        searches.sum::<usize>() <= CONTROL_SEARCHES_MAX
    }

    /// Returns how many programs wait for each file.
    pub(super) fn waiting_programs(&self) -> BTreeMap<&str, usize> {
        let mut programs = BTreeMap::new();
        for name in self.sessions().flat_map(Session::waits_for) {
            *programs.entry(name.as_str()).or_default() += 1;
        }
        programs
    }

    fn refuse_fetches(&mut self, id: ConnectionId, names: BTreeSet<FileName>) {
        let (now, code) = (self.now, ExitCode::Other as u8);
        let Some(session) = self.session(id) else { return };
        for name in names {
            session.tell(now, &News::Failed { name, code, reason: NO_ROOM.to_owned() });
        }
    }

    /// A file on offer matches a pattern of a program, which is told what becomes of it.
    pub(crate) fn follow_for_program(&mut self, id: ConnectionId, name: FileName) -> Followed {
        let now = self.now;
        let has_room = self.fetches_of_programs() < CONTROL_FETCHES_OF_ALL_MAX;
        let Some(session) = self.session(id) else { return Followed::Known };
        let followed = session.follow(now, name, has_room);
        if followed == Followed::New {
            self.pump(id);
        }
        followed
    }

    /// A pattern of a program brings no more names; why there may be more, or nothing.
    pub(crate) fn end_search_of_program(&mut self, id: ConnectionId, doubt: &str) {
        let now = self.now;
        if let Some(session) = self.session(id) {
            session.end_search(now, doubt);
            self.pump(id);
        }
    }

    /// How this program does is put into words.
    pub(super) fn on_described(&mut self, id: ConnectionId, text: &str) {
        let now = self.now;
        if let Some(session) = self.session(id) {
            session.answer_text(now, text);
            self.pump(id);
        }
    }

    /// Tells the programs that wait for it what becomes of a file.
    pub(crate) fn tell_programs(&mut self, report: &Report) {
        if self.programs.connections.is_empty() {
            return;
        }
        let Some(news) = news_of(report, &self.paths) else { return };
        let now = self.now;
        for id in self.programs.connections.iter().copied().collect::<Vec<_>>() {
            if self.session(id).is_some_and(|session| session.tell(now, &news)) {
                self.pump(id);
            }
        }
    }
}

/// Returns whether a program waits for files.
fn waits(session: &Session) -> bool {
    session.state() == SessionState::Following
}

/// Returns what a report says of a wanted file, if it says anything of one.
fn news_of(report: &Report, paths: &Paths) -> Option<News> {
    let name = paths.get(report.path()?)?.name()?;
    match *report {
        Report::WaitingForOffer { .. } => Some(News::Waiting(name)),
        Report::OfferSeen { .. } => Some(News::Offered(name)),
        Report::AlreadyThere { .. } => Some(News::Present(name)),
        Report::Verified { peer, size_bytes, digest, elapsed, .. } => {
            Some(News::Verified(Fetched { name, peer, size_bytes, digest, elapsed }))
        }
        Report::FetchFailed { error, .. } => {
            let (code, reason) = (ExitCode::from(error) as u8, error.to_string());
            Some(News::Failed { name, code, reason })
        }
        _ => None,
    }
}

impl PeerNode {
    pub(super) fn on_program_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Self { context, share, peers, fetch, .. } = self;
        let (mut at, now) = (0, context.now);
        // Any other peer ends before its files could come, or has no folder for them.
        let fetches = matches!(context.settings.kind, PeerKind::Fixed);
        while let Some(session) = context.session(id) {
            match session.handle_bytes(bytes, &mut at) {
                Ok(Some(Asked::Status { json })) => {
                    context.act(Action::Describe { connection: id, json });
                }
                Ok(Some(Asked::Fetches)) => session.answer_fetches(now, fetches),
                Ok(Some(Asked::Want { names, patterns })) => {
                    let count = patterns.len();
                    let patterns: Vec<_> =
                        patterns.iter().filter_map(|it| NamePattern::new(it.as_str())).collect();
                    if !fetches || patterns.len() < count {
                        return self.close(id, CloseReason::Done);
                    }
                    let has_room = context.has_room_for_fetches();
                    if !has_room || !context.has_room_for_searches() {
                        patterns.iter().for_each(|_| context.end_search_of_program(id, NO_ROOM));
                    } else {
                        fetch.want_matching(context, peers, share, &patterns, Some(id));
                    }
                    if !has_room {
                        return context.refuse_fetches(id, names);
                    }
                    let names: Vec<_> = names.into_iter().collect();
                    fetch.want(context, peers, share, &names);
                }
                Ok(None) => return,
                Err(reason) => return self.close(id, reason),
            }
        }
    }

    /// A program has ended, or is no longer told anything: what only it wanted is given up.
    pub(super) fn on_program_lost(&mut self, id: ConnectionId, session: &Session) {
        let Self { context, peers, fetch, .. } = self;
        context.programs.remove(id);
        fetch.forget_search_of(id);
        if !matches!(session.state(), SessionState::Following | SessionState::Closed) {
            return;
        }
        let wanted = context.waiting_programs();
        let is_unwanted = |path: &PathId| {
            let name = context.paths.get(*path).and_then(FilePath::name);
            name.is_some_and(|name| {
                !context.programs.is_own(&name) && !wanted.contains_key(name.as_str())
            })
        };
        for path in fetch.open_paths().filter(is_unwanted).collect::<Vec<_>>() {
            fetch.withdraw(context, peers, path);
        }
    }

    /// A program reads what it was told; with the last of it, it is done.
    pub(super) fn on_program_read(&mut self, id: ConnectionId, len_bytes: usize) {
        let now = self.context.now;
        let Some(session) = self.context.session(id) else { return };
        session.transmitted(now, len_bytes);
        if session.is_done() && !self.has_exited {
            self.close(id, CloseReason::Done);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::limits::CONTROL_TIMEOUT;
    use crate::node::scene::{PEER, REGISTRY, actions, answer, dialed, hear, name, sent, settings};
    use crate::node::{Input, Node};
    use crate::wire::v0::RegistryResponse;

    fn registered(now: Instant) -> (PeerNode, ConnectionId) {
        let mut node = PeerNode::new(now, settings(PeerKind::Fixed));
        let registry = dialed(&actions(&mut node), REGISTRY);
        node.handle(now, Input::Connected(registry));
        sent(&mut node, now, registry);
        answer(&mut node, now, registry, RegistryResponse::Registered(true));
        actions(&mut node);
        (node, registry)
    }

    fn send(node: &mut PeerNode, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        node.handle(now, Input::Received { connection, bytes });
    }

    /// A program asks for files, whose names have one letter.
    fn waits(node: &mut PeerNode, now: Instant, names: &str) -> ConnectionId {
        let id = node.accept_program(now).unwrap();
        let names: Vec<u8> = names.bytes().flat_map(|name| [b'W', 0, 1, name]).collect();
        send(node, now, id, &[&names[..], b"A"].concat());
        id
    }

    fn wanted(node: &PeerNode) -> Vec<(String, usize)> {
        let wanted = node.inventory(10).wanted;
        wanted.into_iter().map(|(path, programs)| (path.as_str().to_owned(), programs)).collect()
    }

    /// Returns what is done, and the files among it that are given up.
    fn given_up(node: &mut PeerNode) -> (Vec<Action>, Vec<String>) {
        let (mut done, mut names) = (Vec::new(), Vec::new());
        while let Some(action) = node.poll_action() {
            if let Action::Report(Report::Withdrawn { path }) = action {
                names.push(node.paths().get(path).unwrap().as_str().to_owned());
            }
            done.push(action);
        }
        (done, names)
    }

    #[test]
    fn what_only_a_program_waits_for_is_given_up_with_its_end() {
        for end in ["closed", "violation", "silence"] {
            let now = Instant::now();
            let (mut node, registry) = registered(now);
            node.handle(now, Input::Want(&[name("o")]));
            let one = waits(&mut node, now, "obm");
            let other = waits(&mut node, now, "bc");
            let all = [("o", 1), ("b", 2), ("m", 1), ("c", 1)];
            assert_eq!(wanted(&node), all.map(|(name, n)| (name.to_owned(), n)));

            // One of them is being fetched.
            hear(&mut node, now, PEER, 3, "m");
            sent(&mut node, now, registry);
            answer(&mut node, now, registry, RegistryResponse::Address(PEER));
            let download = dialed(&actions(&mut node), PEER);
            match end {
                "closed" => node.handle(now, Input::ReadClosed(one)),
                "violation" => send(&mut node, now, one, b"A"),
                _ => {
                    // It reads nothing of what it is told, as the other one does.
                    sent(&mut node, now, other);
                    node.handle_timeout(now + CONTROL_TIMEOUT);
                }
            }
            let (done, names) = given_up(&mut node);
            assert_eq!(names, ["m"], "{end}");
            let closes = |id| move |action: &Action| matches!(action, Action::Close { connection, .. } if *connection == id);
            assert!(done.iter().any(closes(download)), "{end}: {done:?}");
            let left = [("o", 0), ("b", 1), ("c", 1)];
            assert_eq!(wanted(&node), left.map(|(name, n)| (name.to_owned(), n)), "{end}");
            // It can be wanted again.
            actions(&mut node);
            waits(&mut node, now, "m");
            assert_eq!(wanted(&node).last().unwrap(), &("m".to_owned(), 1));
        }
    }

    /// Returns what a program was told, with its lengths and other bytes below 32 left out.
    fn told(node: &mut PeerNode, now: Instant, id: ConnectionId) -> String {
        let text = sent(node, now, id).into_iter().filter(|byte| *byte >= 32);
        String::from_utf8(text.collect()).unwrap()
    }

    #[test]
    fn a_name_beside_a_pattern_is_fetched_at_once_and_each_match_as_it_is_heard() {
        let now = Instant::now();
        let (mut node, _) = registered(now);
        hear(&mut node, now, PEER, 3, "m");
        let id = node.accept_program(now).unwrap();
        send(&mut node, now, id, b"W\0\x01mW\0\x01nM\0\x05*.isoA");
        assert_eq!(wanted(&node), [("m".to_owned(), 1), ("n".to_owned(), 1)]);
        assert_eq!(told(&mut node, now, id), "Wn");
        assert_eq!(node.inventory(10).patterns, [("*.iso".to_owned(), 1)]);
        for (round, news) in (0..7).zip(["Oa.iso", "Oc.iso", "", "", "", "", ""]) {
            let at = now + Duration::from_secs(5 * round);
            node.handle_timeout(at);
            let names: &[_] = if round == 0 { &["a.iso", "m"] } else { &["a.iso", "c.iso", "m"] };
            names.iter().for_each(|name| hear(&mut node, at, PEER, 3, name));
            assert_eq!(told(&mut node, at, id), news, "{round}");
        }
        assert_eq!(wanted(&node).len(), 4);
        // What it was told of is what it waits for; when nothing new comes, the search is over.
        let at = now + Duration::from_secs(5 * 7);
        hear(&mut node, at, PEER, 3, "c.iso");
        node.handle_timeout(at);
        assert_eq!(told(&mut node, at, id), "M");
        assert_eq!(node.inventory(10).patterns, []);
        hear(&mut node, at, PEER, 3, "d.iso");
        assert_eq!((told(&mut node, at, id), wanted(&node).len()), (String::new(), 4));
        node.handle(at, Input::ReadClosed(id));
        assert_eq!(wanted(&node), []);
    }

    #[test]
    fn a_pattern_that_nobody_offers_anything_for_is_told_once_and_ends_with_its_program() {
        let now = Instant::now();
        let (mut node, _) = registered(now);
        let id = node.accept_program(now).unwrap();
        send(&mut node, now, id, b"M\0\x05*.isoA");
        let waits =
            Action::Report(Report::WaitingForMatch { pattern: "*.iso".to_owned(), nearly: None });
        let mut count = |at| {
            node.handle_timeout(at);
            actions(&mut node).iter().filter(|action| **action == waits).count()
        };
        assert_eq!((0..10).map(|n| count(now + Duration::from_secs(n))).sum::<usize>(), 1);
        node.handle(now, Input::ReadClosed(id));
        assert_eq!(node.inventory(10).patterns, []);
        // One that differs only in case is a hint, once.
        let id = node.accept_program(now).unwrap();
        send(&mut node, now, id, b"M\0\x05*.ISOA");
        let nearly = || {
            Action::Report(Report::WaitingForMatch {
                pattern: "*.ISO".to_owned(),
                nearly: Some(name("x.iso")),
            })
        };
        let mut hints = 0;
        for seconds in 50..53 {
            hear(&mut node, now + Duration::from_secs(seconds), PEER, 3, "x.iso");
            hints += actions(&mut node).into_iter().filter(|action| *action == nearly()).count();
        }
        assert_eq!(hints, 1);
        node.handle(now, Input::ReadClosed(id));
        // A peer that has heard everybody says so at once.
        let id = node.accept_program(now + Duration::from_secs(60)).unwrap();
        send(&mut node, now + Duration::from_secs(60), id, b"M\0\x05*.imgA");
        let waits = Report::WaitingForMatch { pattern: "*.img".to_owned(), nearly: None };
        assert!(actions(&mut node).contains(&Action::Report(waits)));
    }

    #[test]
    fn none_that_waits_gives_way_and_one_for_which_there_is_no_room_is_told_so() {
        let now = Instant::now();
        let (mut node, _) = registered(now);
        let waiting: Vec<_> =
            (0..CONTROL_WAITING_MAX).map(|_| waits(&mut node, now, "a")).collect();
        waiting.iter().for_each(|id| _ = sent(&mut node, now, *id));
        actions(&mut node);
        let refused = waits(&mut node, now, "ab");
        let told = String::from_utf8(sent(&mut node, now, refused)).unwrap();
        assert_eq!(told.matches(NO_ROOM).count(), 2, "{told:?}");
        let is_close = |action: &&Action| matches!(action, Action::Close { .. });
        let closed: Vec<_> = actions(&mut node).into_iter().filter(|it| is_close(&it)).collect();
        assert!(
            matches!(&closed[..], [Action::Close { connection, .. }] if *connection == refused)
        );
        assert_eq!(wanted(&node), [("a".to_owned(), CONTROL_WAITING_MAX)]);

        // The oldest of the others gives way.
        let silent: Vec<_> = (0..CONTROL_CLIENTS_MAX - CONTROL_WAITING_MAX + 2)
            .map(|_| node.accept_program(now).unwrap())
            .collect();
        let closed = actions(&mut node).into_iter().filter_map(|action| match action {
            Action::Close { connection, reason: CloseReason::Evicted, .. } => Some(connection),
            _ => None,
        });
        assert_eq!(closed.collect::<Vec<_>>(), silent[..2]);
        let asks = node.accept_program(now).unwrap();
        send(&mut node, now, asks, b"S\0");
        let describes = Action::Describe { connection: asks, json: false };
        assert!(actions(&mut node).contains(&describes));
        let later = now + Duration::from_secs(3600);
        node.handle_timeout(later);
        assert_eq!(wanted(&node), [("a".to_owned(), CONTROL_WAITING_MAX)]);
    }

    #[test]
    fn few_programs_at_once_are_told_what_matches_and_others_that_there_is_no_room() {
        let now = Instant::now();
        let (mut node, _) = registered(now);
        let search = |node: &mut PeerNode| {
            let id = node.accept_program(now).unwrap();
            send(node, now, id, b"M\0\x05*.isoA");
            (id, String::from_utf8(sent(node, now, id)).unwrap())
        };
        let open: Vec<_> = (0..CONTROL_SEARCHES_MAX).map(|_| search(&mut node)).collect();
        assert!(open.iter().all(|(_, told)| told.is_empty()), "{open:?}");
        for _ in 0..2 {
            let (_, told) = search(&mut node);
            assert!(told.ends_with(NO_ROOM), "{told:?}");
        }
        // Files can be waited for, and one that ends makes room.
        waits(&mut node, now, "a");
        assert_eq!(wanted(&node), [("a".to_owned(), 1)]);
        node.handle(now, Input::ReadClosed(open[0].0));
        assert_eq!(search(&mut node).1, "");
        assert!(search(&mut node).1.ends_with(NO_ROOM));
    }

    #[test]
    fn all_programs_together_wait_for_no_more_than_that_many_files() {
        let now = Instant::now();
        let (mut node, _) = registered(now);
        let many = |n: usize| -> Vec<u8> {
            let one = |k: usize| [&[b'W', 0, 8][..], format!("{n:03}{k:05}").as_bytes()].concat();
            (0..4096).flat_map(one).chain(*b"A").collect()
        };
        for n in 0..CONTROL_FETCHES_OF_ALL_MAX / 4096 {
            let id = node.accept_program(now).unwrap();
            send(&mut node, now, id, &many(n));
        }
        actions(&mut node);
        let refused = waits(&mut node, now, "a");
        let told = String::from_utf8(sent(&mut node, now, refused)).unwrap();
        assert_eq!(told.matches(NO_ROOM).count(), 1, "{told:?}");
    }
}
