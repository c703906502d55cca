use std::time::Duration;

use super::*;
use crate::content::{Content, ContentId};

const ALL: usize = usize::MAX;

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

fn file(size_bytes: u64) -> EntryState {
    let id = ContentId([size_bytes as u8; 32]);
    EntryState::File { content: Content { id, size_bytes }, modified_ns: 1, executable: false }
}

fn unhashed(size_bytes: u64) -> EntryState {
    EntryState::Unhashed { size_bytes, modified_ns: 1, executable: false, hashed_bytes: 0 }
}

fn list(since: u64, root: Option<&str>) -> Listing {
    Listing { since, root: root.map(path), watch: false, hash_first: false }
}

/// What a reader has of a catalog.
type Map = BTreeMap<FilePath, EntryState>;

fn take_in(map: &mut Map, root: Option<&FilePath>, page: &Page, entries: Vec<Entry>) {
    if page.discard {
        map.retain(|path, _| !is_at_or_below(path, root));
    }
    for Entry { path, state } in entries {
        assert!(is_at_or_below(&path, root));
        match state {
            EntryState::Removed => _ = map.remove(&path),
            state => _ = map.insert(path, state),
        }
    }
}

/// A catalog beside a plain map.
#[derive(Default)]
struct Model {
    catalog: Catalog,
    map: Map,
}

impl Model {
    /// Changes something; most paths lie in few folders.
    fn change(&mut self, rng: &mut fastrand::Rng) {
        let (folder, name) = (rng.u8(..3), rng.u8(..20));
        let path =
            path(&[format!("{name}"), format!("a/{name}"), format!("a/b/{name}")][folder as usize]);
        let state = match rng.u8(..5) {
            0 | 1 => EntryState::Removed,
            2 => unhashed(rng.u64(1..9)),
            3 => EntryState::EmptyFolder,
            _ => file(rng.u64(1..9)),
        };
        self.catalog.put(path.clone(), state);
        match state {
            EntryState::Removed => _ = self.map.remove(&path),
            state => _ = self.map.insert(path, state),
        }
        let files = self.map.values().filter(|state| is_file(state)).count();
        assert_eq!(self.catalog.files(), files);
    }

    fn below(&self, root: Option<&FilePath>) -> Map {
        let below = self.map.iter().filter(|(path, _)| is_at_or_below(path, root));
        below.map(|(path, state)| (path.clone(), *state)).collect()
    }
}

#[test]
fn a_reader_ends_with_the_map_of_the_server_whatever_changes_between_its_pages() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model = Model::default();
        (0..rng.u8(..60)).for_each(|_| model.change(&mut rng));
        let root = rng.bool().then(|| path("a"));
        let (mut map, mut since, now) = (Map::new(), 0, Instant::now());
        for _ in 0..rng.u8(1..5) {
            // Another session goes on where the one before came to.
            let listing = Listing { root: root.clone(), ..list(since, None) };
            let mut reader = Reader::new(&model.catalog, listing);
            loop {
                let entries_max = rng.usize(1..9);
                let (page, entries) =
                    reader.poll_page(now, &model.catalog, entries_max).expect("it lists");
                assert!(page.complete || page.discard || page.generation > since, "{page:?}");
                since = page.generation;
                take_in(&mut map, root.as_ref(), &page, entries);
                if page.complete {
                    break;
                }
                if rng.u8(..9) == 0 {
                    reader = Reader::new(
                        &model.catalog,
                        Listing { root: root.clone(), ..list(since, None) },
                    );
                }
                (0..rng.u8(..4)).for_each(|_| model.change(&mut rng));
                if rng.u8(..9) == 0 {
                    model.catalog.forget_removals(rng.usize(..5));
                }
            }
            assert!(reader.is_over() && reader.poll_page(now, &model.catalog, 1).is_none());
            assert_eq!((&map, since), (&model.below(root.as_ref()), model.catalog.newest()));
            (0..rng.u8(..9)).for_each(|_| model.change(&mut rng));
        }
    }
}

#[test]
fn a_watch_tells_each_change_and_no_more_than_ten_times_a_second() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut model = Model::default();
    let mut reader = Reader::new(&model.catalog, Listing { watch: true, ..list(0, Some("a")) });
    let (mut map, mut now, start) = (Map::new(), Instant::now(), Instant::now());
    let mut pages = 0;
    while now < start + Duration::from_secs(10) {
        model.change(&mut rng);
        now += Duration::from_millis(7);
        while let Some((page, entries)) = reader.poll_page(now, &model.catalog, ALL) {
            assert!(page.complete && (pages == 0 || !entries.is_empty()));
            take_in(&mut map, Some(&path("a")), &page, entries);
            pages += 1;
        }
    }
    now = reader.poll_timeout(&model.catalog).unwrap_or(now);
    if let Some((page, entries)) = reader.poll_page(now, &model.catalog, ALL) {
        take_in(&mut map, Some(&path("a")), &page, entries);
    }
    assert_eq!(map, model.below(Some(&path("a"))));
    assert!((50..=102).contains(&pages), "{pages}");
    assert_eq!(reader.poll_timeout(&model.catalog), None, "nothing is due");
}

#[test]
fn a_page_is_no_longer_than_it_may_be() {
    let mut catalog = Catalog::default();
    let long = "x".repeat(250);
    (0..2000).for_each(|n| catalog.put(path(&format!("{long}/{n}")), file(1)));
    let mut reader = Reader::new(&catalog, list(0, None));
    let mut count = 0;
    while let Some((page, entries)) = reader.poll_page(Instant::now(), &catalog, ALL) {
        let body_bytes = PAGE_HEAD_BYTES + entries.iter().map(Entry::len_bytes).sum::<usize>();
        assert!(body_bytes <= PAGE_BYTES_MAX as usize);
        assert!(page.complete || body_bytes > PAGE_BYTES_MAX as usize - 400, "it is full");
        count += entries.len();
    }
    assert_eq!(count, 2000);
}

#[test]
fn a_part_of_a_large_catalog_is_read_like_all_of_it() {
    let mut catalog = Catalog::default();
    let count = LIST_SCAN_ENTRIES + 100;
    for n in 0..count {
        let folder = if n % 100 == 0 { "few" } else { "many" };
        catalog.put(path(&format!("{folder}/{n}")), file(1));
    }
    for (root, expected) in [("few", count.div_ceil(100)), ("many", count - count.div_ceil(100))] {
        let mut reader = Reader::new(&catalog, list(0, Some(root)));
        let (mut map, mut entries_seen) = (Map::new(), 0);
        while let Some((page, entries)) = reader.poll_page(Instant::now(), &catalog, ALL) {
            entries_seen += entries.len();
            take_in(&mut map, Some(&path(root)), &page, entries);
        }
        assert_eq!((map.len(), entries_seen), (expected, expected), "{root}");
    }
}

#[test]
fn what_a_reader_missed_for_too_long_is_told_anew() {
    let mut catalog = Catalog::default();
    catalog.put(path("a"), file(1));
    (0..=REMOVALS_KEPT as u64).for_each(|n| {
        catalog.put(path(&format!("{n}")), file(1));
        catalog.remove(&path(&format!("{n}")));
    });
    assert_eq!(catalog.removals.len(), REMOVALS_KEPT);
    assert!(catalog.forgotten > 0 && catalog.records.len() == REMOVALS_KEPT + 1);
    for (since, discard, removals) in [
        (0, false, 0),
        (1, true, 0),
        (catalog.newest() + 1, true, 0),
        (catalog.forgotten, false, REMOVALS_KEPT),
    ] {
        let mut reader = Reader::new(&catalog, list(since, None));
        let (mut discards, mut removed) = (Vec::new(), 0);
        while let Some((page, entries)) = reader.poll_page(Instant::now(), &catalog, ALL) {
            discards.push(page.discard);
            removed += entries.iter().filter(|e| e.state == EntryState::Removed).count();
        }
        assert_eq!((discards[0], removed), (discard, removals), "since {since}");
        assert!(!discards[1..].contains(&true));
    }
}

#[test]
fn with_hash_first_it_is_complete_once_all_that_was_listed_is_hashed_or_gone() {
    let now = Instant::now();
    let mut catalog = Catalog::default();
    for (text, state) in [("a/1", unhashed(100)), ("a/2", unhashed(100)), ("b", unhashed(9))] {
        catalog.put(path(text), state);
    }
    let listing = Listing { hash_first: true, ..list(0, Some("a")) };
    let mut reader = Reader::new(&catalog, listing);
    assert_eq!(reader.hashes_first(), Some(Some(&path("a"))));
    let (page, entries) = reader.poll_page(now, &catalog, ALL).unwrap();
    assert_eq!((page.all_listed, page.complete, entries.len()), (true, false, 2));
    assert_eq!(reader.poll_page(now, &catalog, ALL), None);

    catalog.note_hashed(&path("a/1"), 50);
    catalog.note_hashed(&path("b"), 5);
    let later = now + PROGRESS_PAGE_INTERVAL;
    assert_eq!(reader.poll_timeout(&catalog), Some(later));
    let (page, entries) = reader.poll_page(later, &catalog, ALL).unwrap();
    let hashed = EntryState::Unhashed {
        size_bytes: 100,
        modified_ns: 1,
        executable: false,
        hashed_bytes: 50,
    };
    assert_eq!((page.generation, page.all_listed, page.complete), (3, false, false));
    assert_eq!(entries, [Entry { path: path("a/1"), state: hashed }]);
    assert_eq!(reader.poll_page(later, &catalog, ALL), None);

    // A file that came later is not waited for.
    catalog.put(path("a/3"), unhashed(7));
    catalog.put(path("a/1"), file(100));
    let (page, entries) = reader.poll_page(later, &catalog, ALL).unwrap();
    assert_eq!((page.complete, entries.len()), (false, 2));
    catalog.remove(&path("a/2"));
    assert_eq!(reader.poll_page(later, &catalog, ALL), None, "at most ten pages a second");
    let at = reader.poll_timeout(&catalog).unwrap();
    assert_eq!(at, later + WATCH_PAGE_INTERVAL);
    let (page, entries) = reader.poll_page(at, &catalog, ALL).unwrap();
    assert_eq!((page.complete, entries.len()), (true, 1));
    assert!(reader.is_over() && reader.hashes_first().is_none());
}

#[test]
fn an_entry_costs_little() {
    // Beside its path, and what trees spend on top.
    assert!(size_of::<Record>() <= 96, "{}", size_of::<Record>());
}
