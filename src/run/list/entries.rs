//! What peers of version 1 list, in words and as events.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::Listed;
use crate::count::{Bytes, Count};
use crate::node::{Giver, ListedEntry, Time, Wish};
use crate::ui::{Event, text};
use crate::wire::Shown;
use crate::wire::v1::EntryState;

/// Peers that are named in a line; more are counted.
const NAMED_PEERS_MAX: usize = 3;
/// The digits of an id that are shown: as many as fetch it.
const ID_DIGITS_SHOWN: usize = 16;

/// A line of the list.
struct Row {
    path: String,
    size: String,
    modified: String,
    id: String,
    from: String,
}

/// A folder with all below it, in one line.
#[derive(Default)]
struct Folder<'a> {
    files: u64,
    size_bytes: u64,
    givers: Vec<&'a Giver>,
}

/// Returns a line for each entry, or for each folder just below what is wished, and for each
/// offer of version 0.
pub(super) fn table(
    (entries, wishes): (&[ListedEntry], &[Wish]),
    offers: &[Listed],
    is_recursive: bool,
    with_heading: bool,
) -> String {
    let mut out = String::new();
    if with_heading {
        let _ = writeln!(
            out,
            "{:>11}  {:<20}  {:<16}  {:<16}  PATH",
            "SIZE", "CHANGED (UTC)", "ID", "FROM"
        );
    }
    let rows =
        rows(entries, wishes, is_recursive).into_iter().chain(offers.iter().map(Row::of_offer));
    for Row { path, size, modified, id, from } in rows {
        let _ = writeln!(out, "{size:>11}  {modified:<20}  {id:<16}  {from:<16}  {path}");
    }
    out
}

fn rows(entries: &[ListedEntry], wishes: &[Wish], is_recursive: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut folder: Option<(usize, String, Folder<'_>)> = None;
    for entry in entries {
        let above = match is_recursive {
            true => None,
            false => wishes.get(entry.wish).and_then(|wish| folder_of(wish, entry)),
        };
        let key = above.map(|above| (entry.wish, above));
        let is_other = |(wish, path, _): &mut (usize, String, Folder<'_>)| {
            key.as_ref().is_none_or(|(of, above)| (of, above) != (&*wish, &*path))
        };
        rows.extend(folder.take_if(is_other).map(|(_, path, sum)| sum.row(path)));
        match key {
            Some((wish, path)) => {
                folder.get_or_insert_with(|| (wish, path, Folder::default())).2.add(entry);
            }
            None => rows.push(Row::of_entry(entry)),
        }
    }
    rows.extend(folder.map(|(_, path, sum)| sum.row(path)));
    rows
}

/// Returns the folder just below what is wished in which an entry stands, if it is in one.
fn folder_of(wish: &Wish, entry: &ListedEntry) -> Option<String> {
    let root = match wish {
        Wish::Path(root) | Wish::Folder(Some(root)) => Some(root),
        Wish::Folder(None) => None,
        Wish::Matching(_) | Wish::Content { .. } => return None,
    };
    let above = root.map_or(0, |root| root.components().count());
    let mut components = entry.path.components();
    let head: Vec<_> = components.by_ref().take(above + 1).collect();
    components.next().map(|_| head.join("/") + "/")
}

impl<'a> Folder<'a> {
    fn add(&mut self, entry: &'a ListedEntry) {
        self.files += u64::from(entry.is_file());
        self.size_bytes = self.size_bytes.saturating_add(entry.size_bytes());
        let known: BTreeSet<_> = self.givers.iter().map(|giver| giver.peer).collect();
        self.givers.extend(entry.givers.iter().filter(|giver| !known.contains(&giver.peer)));
    }

    fn row(self, path: String) -> Row {
        Row {
            path: Shown(path).to_string(),
            size: Bytes(self.size_bytes).to_string(),
            modified: String::new(),
            id: Count(self.files, "file").to_string(),
            from: named(&self.givers),
        }
    }
}

impl Row {
    fn of_entry(entry: &ListedEntry) -> Self {
        let folder = if entry.is_file() { "" } else { "/" };
        let id = match entry.state {
            EntryState::Unhashed { size_bytes, hashed_bytes, .. } => {
                let percent = u128::from(hashed_bytes) * 100 / u128::from(size_bytes.max(1));
                format!("hashing, {percent} %")
            }
            _ => entry.id().map(|id| id.to_string()).unwrap_or_default(),
        };
        let id = match entry.state {
            EntryState::File { .. } => id.chars().take(ID_DIGITS_SHOWN).collect(),
            EntryState::EmptyFolder => "empty".to_owned(),
            _ => id,
        };
        Self {
            path: format!("{}{folder}", entry.path),
            size: match entry.is_file() {
                true => Bytes(entry.size_bytes()).to_string(),
                false => String::new(),
            },
            modified: entry.modified_ns().map(|ns| Time(ns).to_string()).unwrap_or_default(),
            id,
            from: named(&entry.givers.iter().collect::<Vec<_>>()),
        }
    }

    fn of_offer(listed: &Listed) -> Self {
        Self {
            path: listed.heard.offer.name.to_string(),
            size: String::new(),
            modified: String::new(),
            id: "v0".to_owned(),
            from: format!("peer {}", listed.heard.offer.peer),
        }
    }
}

fn named(givers: &[&Giver]) -> String {
    let names: Vec<_> =
        givers.iter().take(NAMED_PEERS_MAX).map(|giver| giver.to_string()).collect();
    let names = names.join(", ");
    match givers.len().saturating_sub(NAMED_PEERS_MAX) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// Returns the event of an entry.
pub(super) fn event(entry: &ListedEntry) -> String {
    let (executable, hashed) = match entry.state {
        EntryState::File { executable, .. } => (executable, None),
        EntryState::Unhashed { executable, hashed_bytes, .. } => (executable, Some(hashed_bytes)),
        EntryState::EmptyFolder | EntryState::Removed => (false, None),
    };
    Event::Entry {
        name: text(&entry.path),
        folder: !entry.is_file(),
        bytes: entry.size_bytes(),
        modified: entry.modified_ns().map(|ns| text(Time(ns))),
        executable,
        blake3: entry.id().map(text),
        hashed,
        sources: entry.givers.iter().map(text).collect(),
    }
    .line()
}

/// Returns what changed since the last time, in lines or as events.
pub(super) fn changes(
    shown: &mut BTreeMap<String, String>,
    entries: &[ListedEntry],
    json: bool,
) -> String {
    let line = |entry: &ListedEntry| match json {
        true => event(entry),
        false => {
            let Row { path, size, modified, id, from } = Row::of_entry(entry);
            format!("listed   {size:>11}  {modified:<20}  {id:<16}  {from:<16}  {path}\n")
        }
    };
    // By what is listed, not by when that is told.
    let key = |entry: &ListedEntry| {
        let givers: Vec<_> = entry.givers.iter().map(Giver::to_string).collect();
        format!("{}\0{:?}\0{}", entry.path, entry.state, givers.join(","))
    };
    let now: BTreeMap<_, _> =
        entries.iter().map(|entry| (key(entry), entry.path.to_string())).collect();
    let there: BTreeSet<_> = now.values().collect();
    let mut out = String::new();
    for path in shown.values().filter(|path| !there.contains(path)) {
        out += &match json {
            true => Event::EntryGone { name: text(path) }.line(),
            false => format!("gone     {path}\n"),
        };
    }
    let new = entries.iter().filter(|entry| !shown.contains_key(&key(entry)));
    out.extend(new.map(line));
    *shown = now;
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Content, ContentId};
    use crate::wire::v1::PeerName;
    use crate::wire::{FilePath, PeerId};

    fn entry(wish: usize, path: &str, size_bytes: u64, names: &[&str]) -> ListedEntry {
        let content = Content { id: ContentId([0xab; 32]), size_bytes };
        let givers = names
            .iter()
            .zip(1..)
            .map(|(name, id)| Giver { peer: PeerId(id), name: PeerName::new(name).unwrap() });
        ListedEntry {
            wish,
            path: FilePath::new(path).unwrap(),
            state: EntryState::File { content, modified_ns: 0, executable: false },
            givers: givers.collect(),
        }
    }

    #[test]
    fn folders_are_summed_just_below_what_is_wished_unless_all_is_to_be_shown() {
        let wishes: Vec<Wish> = ["/", "a/"].iter().map(|text| text.parse().unwrap()).collect();
        let entries = [
            entry(0, "a/b/c", 1000, &["ann"]),
            entry(0, "a/d", 24, &["ann", "bob"]),
            entry(0, "z", 7, &["a", "b", "c", "d", "e"]),
            entry(1, "a/b/c", 1000, &["ann"]),
            entry(1, "a/d", 24, &[""]),
        ];
        let shown = |is_recursive| table((&entries, &wishes), &[], is_recursive, false);
        let lines = |text: String| -> Vec<String> {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        assert_eq!(
            lines(shown(false)),
            [
                "1.00 KiB 2 files ann, bob a/",
                "7 B 1970-01-01T00:00:00Z abababababababab a, b, c and 2 more z",
                "1000 B 1 file ann a/b/",
                "24 B 1970-01-01T00:00:00Z abababababababab peer 1 a/d",
            ]
        );
        assert_eq!(lines(shown(true)).len(), 5);
    }
}
