//! The sessions on which we ask, and the lists that are open on them.
//!
//! Each session is asked for the same few scopes, which cover all wishes. Invariant: `lists` has
//! the open requests alone.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Instant;

use super::job::WishId;
use crate::limits::{HASH_FIRST_LISTS_MAX, SCOPES_MAX};
use crate::node::ConnectionId;
use crate::node::peer::Context;
use crate::proto::v1::Request;
use crate::wire::FilePath;

/// A session on which we ask.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) address: SocketAddrV4,
    /// Known once it said hello; until then it is being dialed.
    pub(super) instance: Option<u64>,
    pub(super) origin: Origin,
    pub(super) lists: BTreeMap<u32, List>,
    /// Requests for blocks of contents of which only the id is known.
    pub(super) held: BTreeMap<u32, WishId>,
    /// Whether it was asked for such contents.
    pub(super) was_asked_for: Vec<WishId>,
    /// Whether it may fetch the same: it shows a tag of a wish or looks for it, or has dialed us.
    pub(super) is_seeker: bool,
    /// Whether something was fetched from it, or is.
    pub(super) is_useful: bool,
    /// Whether it refused a list.
    pub(super) is_refusing: bool,
    was_asked_for_names: bool,
    /// When it began to be of no use.
    pub(super) idle_since: Instant,
}

/// How its address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The user named it.
    Given,
    /// A beacon came from it, or it dialed us.
    Heard,
    /// The registry lists it.
    Registry,
}

/// A request for a list that is open.
#[derive(Debug)]
pub(super) struct List {
    /// What it covers; `None` is all.
    pub(super) root: Option<FilePath>,
    pub(super) kind: ListKind,
    pub(super) progress: Progress,
    /// How many entries came.
    pub(super) entries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    /// What the peer shares, and its changes.
    Shared,
    /// The same, to be hashed before other files.
    HashFirst,
    /// What the peer has fetched itself, and its changes.
    Fetched,
    /// Some names at the top, to tell the user.
    Names,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    Asked,
    /// The first page came.
    Begun,
    /// All is listed.
    Whole,
}

impl Source {
    pub(super) fn new(now: Instant, address: SocketAddrV4, origin: Origin) -> Self {
        Self {
            address,
            instance: None,
            origin,
            is_seeker: false,
            lists: BTreeMap::new(),
            held: BTreeMap::new(),
            was_asked_for: Vec::new(),
            is_useful: false,
            is_refusing: false,
            was_asked_for_names: false,
            idle_since: now,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.instance.is_some()
    }

    fn list_of(&self, root: Option<&FilePath>, kind: ListKind) -> Option<&List> {
        self.lists.values().find(|list| list.kind == kind && list.root.as_ref() == root)
    }

    /// Returns how far what it shares at or below a path is listed; `None` if it is not asked.
    pub(super) fn progress_of(&self, root: Option<&FilePath>) -> Option<Progress> {
        let covers = |list: &&List| list.kind == ListKind::Shared && is_within(root, &list.root);
        self.lists.values().filter(covers).map(|list| list.progress).max()
    }

    /// Asks for a list, unless it is open, or as many are as may be.
    pub(super) fn ask(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        root: Option<&FilePath>,
        kind: ListKind,
    ) {
        let of_kind = self.lists.values().filter(|list| list.kind == kind).count();
        let has_room = match kind {
            ListKind::HashFirst => of_kind < HASH_FIRST_LISTS_MAX,
            ListKind::Names => of_kind == 0 && !self.was_asked_for_names,
            ListKind::Shared | ListKind::Fetched => of_kind < SCOPES_MAX,
        };
        if !has_room || self.list_of(root, kind).is_some() {
            return;
        }
        let request = Request::List {
            since: 0,
            path: root.cloned(),
            watch: matches!(kind, ListKind::Shared | ListKind::Fetched),
            hash_first: kind == ListKind::HashFirst,
            fetch_list: kind == ListKind::Fetched,
        };
        let now = ctx.now;
        let Some(connection) = ctx.session_on(id) else { return };
        if let Some(req) = connection.session.request(now, &request) {
            let list = List { root: root.cloned(), kind, progress: Progress::Asked, entries: 0 };
            self.lists.insert(req, list);
            self.was_asked_for_names |= kind == ListKind::Names;
        }
    }

    /// Cancels the lists that cover nothing of these scopes.
    pub(super) fn cancel_others(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        scopes: &[Option<FilePath>],
    ) {
        let is_needed = |list: &List| match list.kind {
            ListKind::Shared => scopes.contains(&list.root),
            ListKind::Names => true,
            ListKind::HashFirst | ListKind::Fetched => {
                scopes.iter().any(|scope| is_within(list.root.as_ref(), scope))
            }
        };
        let needless = self.lists.iter().filter(|(_, list)| !is_needed(list));
        for req in needless.map(|(req, _)| *req).collect::<Vec<_>>() {
            self.lists.remove(&req);
            cancel(ctx, id, req);
        }
    }
}

pub(super) fn cancel(ctx: &mut Context, id: ConnectionId, req: u32) {
    let now = ctx.now;
    if let Some(connection) = ctx.session_on(id) {
        connection.session.cancel(now, req);
    }
}

/// Returns whether a path, or everything, lies at or below another.
pub(super) fn is_within(path: Option<&FilePath>, root: &Option<FilePath>) -> bool {
    match (path, root) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(path), Some(root)) => path.is_below(root),
    }
}

/// Returns at most [`SCOPES_MAX`] scopes that cover all these paths; `None` is everything.
pub(super) fn scopes<'a>(
    roots: impl Iterator<Item = Option<&'a FilePath>>,
) -> Vec<Option<FilePath>> {
    let mut scopes: Vec<Option<FilePath>> = Vec::new();
    for root in roots {
        if scopes.iter().any(|scope| is_within(root, scope)) {
            continue;
        }
        let root = root.cloned();
        scopes.retain(|scope| !is_within(scope.as_ref(), &root));
        scopes.push(root);
    }
    // Many are covered by the folder in which they stand, or by everything.
    if scopes.len() > SCOPES_MAX {
        let common = scopes.iter().flatten().fold(None, |common: Option<Vec<&str>>, path| {
            let components = path.components();
            Some(match common {
                None => components.collect(),
                Some(common) => {
                    let same = common.into_iter().zip(components).take_while(|(a, b)| a == b);
                    same.map(|(component, _)| component).collect()
                }
            })
        });
        let common = common.unwrap_or_default().join("/");
        scopes = vec![FilePath::new(&common).ok()];
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes_of(texts: &[&str]) -> Vec<String> {
        let paths: Vec<_> = texts.iter().map(|text| FilePath::new(text).ok()).collect();
        let scopes = scopes(paths.iter().map(Option::as_ref));
        scopes.iter().map(|path| path.as_ref().map_or(String::new(), |it| it.to_string())).collect()
    }

    #[test]
    fn few_scopes_cover_all_wishes() {
        assert_eq!(scopes_of(&["a", "b/c"]), ["a", "b/c"]);
        assert_eq!(scopes_of(&["a/b", "a", "a/c", "a"]), ["a"]);
        assert_eq!(scopes_of(&["a", ""]), [""]);
        assert_eq!(scopes_of(&["a", "b", "c", "d"]), [""]);
        assert_eq!(scopes_of(&["x/a", "x/b", "x/c/e", "x/d"]), ["x"]);
        assert_eq!(scopes_of(&["x/ya", "x/yb", "x/yc", "x/yd"]), ["x"]);
        assert_eq!(scopes_of(&[]), [""; 0]);
    }
}
