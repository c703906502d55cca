use super::*;
use crate::content::ContentId;
use crate::node::connections::Connections;

const PEERS: usize = 4;
const BYTES_MAX: usize = 100_000;

struct Peers([ConnectionId; PEERS]);

impl Peers {
    fn new() -> Self {
        let mut connections = Connections::new(&crate::limits::Limits::PEER, 0);
        Self(std::array::from_fn(|_| connections.accept_uncounted(())))
    }
}

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

fn file(text: &str, id: u8, size_bytes: u64) -> Entry {
    let content = Content { id: ContentId([id; 32]), size_bytes };
    let state = EntryState::File { content, modified_ns: 5, executable: false };
    Entry { path: path(text), state }
}

fn unhashed(text: &str, size_bytes: u64) -> Entry {
    let (modified_ns, executable, hashed_bytes) = (5, false, 1);
    let state = EntryState::Unhashed { size_bytes, modified_ns, executable, hashed_bytes };
    Entry { path: path(text), state }
}

fn folder(text: &str) -> Entry {
    Entry { path: path(text), state: EntryState::EmptyFolder }
}

fn gone(text: &str) -> Entry {
    Entry { path: path(text), state: EntryState::Removed }
}

/// What peers list, each by its number.
fn listed(entries: impl IntoIterator<Item = (usize, Entry)>) -> Listings {
    let Peers(peers) = Peers::new();
    let mut listings = Listings::new(BYTES_MAX);
    for (peer, entry) in entries {
        listings.note(peers[peer], entry);
    }
    listings
}

fn resolve(listings: &Listings, wish: &str) -> Resolution {
    let wish = wish.parse().unwrap();
    let resolution = listings.resolve(&wish, false);
    assert_eq!(listings.has(&wish), resolution != Resolution::Nothing, "{wish}");
    resolution
}

fn found(listings: &Listings, wish: &str) -> Found {
    match resolve(listings, wish) {
        Resolution::Found(found) => found,
        other => panic!("{wish}: {other:?}"),
    }
}

fn files(listings: &Listings, wish: &str) -> Vec<String> {
    found(listings, wish).files.iter().map(|file| file.path.to_string()).collect()
}

fn ambiguous(listings: &Listings, wish: &str) -> (String, usize) {
    match resolve(listings, wish) {
        Resolution::Ambiguous(it) => (it.path.to_string(), it.candidates.len()),
        other => panic!("{wish}: {other:?}"),
    }
}

#[test]
fn a_wish_finds_the_union_of_what_all_list() {
    let all = listed([
        (0, file("photos/a", 1, 10)),
        (0, file("photos/b/c.jpg", 2, 10)),
        (1, file("photos/a", 1, 10)),
        (1, file("photos/d.jpg", 3, 10)),
        (1, file("photos.txt", 4, 10)),
        (2, file("movie.mkv", 5, 10)),
    ]);
    assert_eq!(files(&all, "photos"), ["photos/a", "photos/b/c.jpg", "photos/d.jpg"]);
    assert_eq!(files(&all, "photos/"), files(&all, "photos"));
    assert_eq!(files(&all, "photos/*.jpg"), ["photos/d.jpg"]);
    assert_eq!(files(&all, "**/*.jpg"), ["photos/b/c.jpg", "photos/d.jpg"]);
    assert_eq!(files(&all, "movie.mkv"), ["movie.mkv"]);
    assert_eq!(files(&all, "/").len(), 5);
    for nothing in ["phot", "photos/e", "movie.mkv/", "*.iso", "photos/a/"] {
        assert_eq!(resolve(&all, nothing), Resolution::Nothing, "{nothing}");
    }
    let file = &found(&all, "photos/a").files[0];
    assert_eq!((file.sources.len(), file.size_bytes, file.modified_ns), (2, 10, 5));
}

#[test]
fn a_later_entry_replaces_an_earlier_one_and_a_removal_ends_it() {
    let Peers(peers) = Peers::new();
    let mut all = listed([(0, unhashed("a", 10)), (0, file("a", 1, 10)), (1, file("a", 1, 10))]);
    assert_eq!(found(&all, "a").files[0].sources.len(), 2);
    all.note(peers[0], gone("a"));
    assert_eq!(found(&all, "a").files[0].sources, [peers[1]]);
    all.note(peers[1], file("b/c", 1, 10));
    all.discard(peers[1], Some(&path("a")));
    assert_eq!((resolve(&all, "a"), files(&all, "b").len()), (Resolution::Nothing, 1));
    all.discard(peers[1], None);
    assert_eq!((all.len, all.bytes, all.rows.len()), (0, 0, 0));
}

#[test]
fn different_contents_or_sizes_under_one_path_are_ambiguous() {
    let two = |one: Entry, other: Entry| listed([(0, one), (1, other)]);
    let different = [
        (file("a/b", 1, 10), file("a/b", 2, 10)),
        (file("a/b", 1, 10), file("a/b", 1, 11)),
        (file("a/b", 1, 10), unhashed("a/b", 11)),
        (unhashed("a/b", 12), unhashed("a/b", 11)),
        (file("a/b", 1, 10), folder("a/b")),
        (file("a/b", 1, 10), file("a/b/c", 1, 10)),
        (file("a/b", 1, 10), folder("a/b/c")),
    ];
    for (one, other) in different {
        for (one, other) in [(one.clone(), other.clone()), (other, one)] {
            let all = two(one, other);
            for wish in ["a/b", "a/", "/"] {
                assert_eq!(ambiguous(&all, wish), ("a/b".to_owned(), 2), "{wish}: {all:?}");
            }
        }
    }
    // Of the same size, one is fetched from the peer that has hashed it.
    let all = two(unhashed("a", 10), file("a", 1, 10));
    let Peers(peers) = Peers::new();
    assert_eq!(found(&all, "a").files[0].sources, [peers[1]]);
    let both = two(unhashed("a", 10), unhashed("a", 10));
    let file = &found(&both, "a").files[0];
    assert_eq!((file.content, file.sources.len()), (None, 2));
}

#[test]
fn a_file_and_a_folder_under_one_path_of_one_peer_are_a_fault_of_its_catalog() {
    let all = listed([(0, file("a", 1, 10)), (0, file("a/b", 2, 10)), (0, file("a.txt", 3, 10))]);
    let found = found(&all, "/");
    assert_eq!(found.misplaced, [path("a/b")]);
    assert_eq!(files(&all, "/"), ["a", "a.txt"]);
    // The folder is what was asked for.
    assert_eq!(files(&all, "a/"), ["a/b"]);
}

#[test]
fn an_empty_folder_is_found_unless_it_holds_something_elsewhere() {
    let all = listed([(0, folder("a")), (0, folder("b/c")), (1, file("b/c/d", 1, 10))]);
    let found = found(&all, "/");
    assert_eq!((found.folders, found.files.len()), (vec![path("a")], 1));
    assert!(matches!(resolve(&all, "a/"), Resolution::Found(_)));
}

#[test]
fn a_file_called_like_the_pattern_wins_over_it() {
    let all = listed([(0, file("a[1]", 1, 10)), (0, file("a1", 2, 10))]);
    assert_eq!(files(&all, "a[1]"), ["a[1]"]);
    let other = listed([(0, file("a1", 2, 10))]);
    assert_eq!(files(&other, "a[1]"), ["a1"]);
}

#[test]
fn hidden_files_are_found_only_by_name() {
    let all = listed([(0, file(".a/b", 1, 1)), (0, file("c/.d", 2, 1)), (0, file("c/e", 3, 1))]);
    assert_eq!((files(&all, "/"), found(&all, "/").hidden), (vec!["c/e".to_owned()], 2));
    assert_eq!(files(&all, ".a/"), [".a/b"]);
    assert_eq!(files(&all, "c/.*"), ["c/.d"]);
    assert_eq!(files(&all, "c/.d"), ["c/.d"]);
    let Resolution::Found(found) = all.resolve(&Wish::Folder(None), true) else { panic!() };
    assert_eq!(found.files.len(), 3);
}

#[test]
fn a_content_is_found_by_the_first_digits_of_its_id() {
    let mut entries = vec![(0, file("a", 0x11, 10)), (1, file("b/c", 0x11, 10))];
    entries.push((1, file("d", 0x22, 10)));
    let one = listed(entries.clone());
    let wish = format!("blake3:{}", "1".repeat(16));
    assert_eq!(found(&one, &wish).files[0].sources.len(), 2);
    assert_eq!(resolve(&one, &format!("blake3:{}", "3".repeat(16))), Resolution::Nothing);
    // Its last byte differs.
    let mut twin = file("e", 0x11, 10);
    if let EntryState::File { content, .. } = &mut twin.state {
        content.id.0[31] = 0;
    }
    entries.push((2, twin));
    assert_eq!(ambiguous(&listed(entries), &wish).1, 3);
}

#[test]
fn more_than_there_is_room_for_is_no_job() {
    let long = |at: usize| {
        let text = format!("{at:0>250}/").repeat(4);
        file(text.trim_end_matches('/'), 1, 10)
    };
    let mut listings = listed([(0, file("a", 1, 10))]);
    let Peers(peers) = Peers::new();
    let rows = BYTES_MAX / 1_000;
    (0..rows).for_each(|at| listings.note(peers[1], long(at)));
    assert!(listings.bytes <= BYTES_MAX && listings.is_full);
    assert_eq!(listings.resolve(&Wish::Folder(None), false), Resolution::TooMany);
}

/// Random entries lead to what a plain list of them says.
#[test]
fn rows_are_what_was_listed_last() {
    let Peers(peers) = Peers::new();
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut listings = Listings::new(BYTES_MAX);
        let mut model: BTreeMap<(FilePath, ConnectionId), EntryState> = BTreeMap::new();
        for _ in 0..100 {
            let names = ["a", "a/b", "a/b/c", "a.b", "b", "b/a"];
            let name = *rng.choice(&names).unwrap();
            let peer = *rng.choice(&peers).unwrap();
            let entry = match rng.u8(..5) {
                0 => gone(name),
                1 => folder(name),
                2 => unhashed(name, 7),
                3 => {
                    let root = rng.bool().then(|| path(name));
                    listings.discard(peer, root.as_ref());
                    let is_below =
                        |path: &FilePath| root.as_ref().is_none_or(|root| path.is_below(root));
                    model.retain(|(path, from), _| *from != peer || !is_below(path));
                    continue;
                }
                _ => file(name, rng.u8(..3), 7),
            };
            match entry.state {
                EntryState::Removed => _ = model.remove(&(entry.path.clone(), peer)),
                state => _ = model.insert((entry.path.clone(), peer), state),
            }
            listings.note(peer, entry);
            let mut rows = BTreeMap::new();
            for (path, of_path) in &listings.rows {
                assert!(!of_path.is_empty());
                rows.extend(of_path.iter().map(|row| ((path.clone(), row.from), row.state)));
            }
            assert_eq!(rows, model, "seed {seed}");
            assert_eq!(listings.len, model.len());
        }
    }
}
