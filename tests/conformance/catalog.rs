//! Version 1: how a catalog is read, step by step.

use std::collections::BTreeMap;
use std::time::Instant;

use p2pfs::content::{Content, ContentId};
use p2pfs::limits::{PROGRESS_PAGE_INTERVAL, WATCH_PAGE_INTERVAL};
use p2pfs::proto::v1::{Catalog, Listing, Page, Reader};
use p2pfs::wire::FilePath;
use p2pfs::wire::v1::{Entry, EntryState};
use serde_json::{Value as Json, json};

use crate::v1::list;

fn path(text: &Json) -> FilePath {
    FilePath::new(text.as_str().expect("a path")).expect("a legal path")
}

fn file(size_bytes: u64) -> EntryState {
    let content = Content { id: ContentId([1; 32]), size_bytes };
    EntryState::File { content, modified_ns: 0, executable: false }
}

fn size_bytes(state: &EntryState) -> u64 {
    match state {
        EntryState::File { content, .. } => content.size_bytes,
        EntryState::Unhashed { size_bytes, .. } => *size_bytes,
        EntryState::Removed | EntryState::EmptyFolder => 0,
    }
}

/// A server, what a reader has of it, and how it reads on.
#[derive(Default)]
struct Scene {
    catalog: Catalog,
    fetch_list: Catalog,
    reader: Option<(Reader, bool)>,
    map: BTreeMap<String, u64>,
}

impl Scene {
    fn change(&mut self, change: &Json) {
        let catalog = &mut self.catalog;
        let size_bytes = |size: &Json| size.as_u64().expect("a size");
        match change.as_array().expect("a change").as_slice() {
            [what, at] if what == "remove" => catalog.remove(&path(at)),
            [what, at, size] if what == "put" => catalog.put(path(at), file(size_bytes(size))),
            [what, at, size] if what == "fetched" => {
                self.fetch_list.put(path(at), file(size_bytes(size)));
            }
            [what, at, size] if what == "put unhashed" => {
                let (at, size_bytes) = (path(at), size_bytes(size));
                let (modified_ns, executable, hashed_bytes) = (0, false, 0);
                let state =
                    EntryState::Unhashed { size_bytes, modified_ns, executable, hashed_bytes };
                catalog.put(at.clone(), state);
                catalog.note_hashed(&at, 0);
            }
            [what, at] if what == "hashed" => {
                let at = path(at);
                let size_bytes = self::size_bytes(catalog.get(&at).expect("it is there"));
                catalog.put(at, file(size_bytes));
            }
            [what, from, to] if what == "rename" => {
                let state = *catalog.get(&path(from)).expect("it is there");
                catalog.remove(&path(from));
                catalog.put(path(to), state);
            }
            [what] if what == "forget removals" => catalog.forget_removals(0),
            _ => panic!("{change}"),
        }
    }

    fn begin(&mut self, request: &Json) {
        let is = |what: &str| request[what] == true;
        let listing = Listing {
            since: request["since"].as_u64().expect("a generation"),
            root: None,
            watch: is("watch"),
            hash_first: is("hash_first"),
        };
        let list = if is("flag4") { &self.fetch_list } else { &self.catalog };
        self.reader = Some((Reader::new(list, listing), is("flag4")));
    }

    fn page(&mut self, now: Instant, entries_max: usize) -> Option<(Page, Vec<Entry>)> {
        let (reader, is_fetch_list) = self.reader.as_mut().expect("it reads");
        let list = if *is_fetch_list { &self.fetch_list } else { &self.catalog };
        let (page, entries) = reader.poll_page(now, list, entries_max)?;
        if page.discard {
            self.map.clear();
        }
        if !*is_fetch_list {
            for Entry { path, state } in &entries {
                match state {
                    EntryState::Removed => _ = self.map.remove(path.as_str()),
                    state => _ = self.map.insert(path.as_str().to_owned(), size_bytes(state)),
                }
            }
        }
        Some((page, entries))
    }

    fn expect(&self, expected: &Json, (page, entries): &(Page, Vec<Entry>)) {
        let is_fetch_list = self.reader.as_ref().is_some_and(|(_, is)| *is);
        let flags =
            [(page.complete, 1), (page.discard, 2), (is_fetch_list, 4), (page.all_listed, 8)];
        let flags: u8 = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum();
        let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(expected["generation"], page.generation, "{expected}");
        assert_eq!(expected["paths"], json!(paths), "{expected}");
        assert_eq!(expected["flags"], flags, "{expected}");
        let removed = entries.iter().any(|entry| entry.state == EntryState::Removed);
        assert_eq!(expected["removed"] == true, removed, "{expected}");
        if let Some(unhashed) = expected.get("flag4") {
            let is_unhashed = |entry: &&Entry| matches!(entry.state, EntryState::Unhashed { .. });
            let paths: Vec<_> =
                entries.iter().filter(is_unhashed).map(|e| e.path.as_str()).collect();
            assert_eq!(*unhashed, json!(paths), "{expected}");
        }
    }
}

#[test]
fn a_catalog_is_read_as_the_vectors_say() {
    let (start, vectors) = (Instant::now(), list("catalog"));
    assert!(!vectors.is_empty());
    for vector in vectors {
        let mut scene = Scene::default();
        let entries_max = vector["page_entries"].as_u64().unwrap_or(u64::MAX) as usize;
        let changes = vector["start"].as_array().expect("changes");
        changes.iter().for_each(|change| scene.change(change));
        let mut now = start;
        for step in vector["steps"].as_array().expect("steps") {
            if let Some(change) = step.get("do") {
                scene.change(change);
                continue;
            }
            if let Some(request) = step.get("L") {
                scene.begin(request);
            }
            now += WATCH_PAGE_INTERVAL;
            if step.get("progress").is_some() {
                now += PROGRESS_PAGE_INTERVAL;
            }
            if let Some(reach) = step.get("pages_then_reach") {
                let mut reached = 0;
                while let Some((page, _)) = scene.page(now, entries_max) {
                    (reached, now) = (page.generation, now + WATCH_PAGE_INTERVAL);
                }
                assert_eq!(*reach, reached, "{step}");
                continue;
            }
            let page = scene.page(now, entries_max).unwrap_or_else(|| panic!("no page: {step}"));
            let expected = step.get("page").or_else(|| step.get("progress"));
            scene.expect(expected.expect("a page"), &page);
        }
        assert_eq!(vector["result"], json!(scene.map), "{}", vector["name"]);
    }
}
