//! Digests kept between runs, so that unchanged files are not hashed at each start.
//!
//! One file for each shared folder, or for several that are shared together, in the user's cache
//! folder, of records that each name a version and its digests: by BLAKE3 and, if it was ever
//! needed, by SHA-256; one that is not known is zeros. Each file of the folder has one place in it, where its next
//! version takes that of the last, and the place of one that is gone is used again: however
//! often files change, it is as large as they are many. A start that finds more stale records
//! than good ones writes the file anew. Nothing depends on it: a record that is damaged fails
//! its check, one whose version is not what stands in the folder is passed over, and without
//! the file everything is hashed. Even a wrong digest does no harm for long, since the node
//! has a file hashed again before it sends such a digest for the first time.
//!
//! ```text
//! record: device 8, inode 8, size 8, modified 16, changed 16, BLAKE3 32, SHA-256 32, check 8 bytes
//! ```
//!
//! Numbers are big-endian; the check is the beginning of the SHA-256 of what is before it.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::system;
use super::tree::SharedTree;
use crate::content::{ContentId, Digest, Hash as FileHash, Known, Version};
use crate::limits::{DIGEST_CACHE_PENDING_MAX, DIGEST_CACHES_MAX, SHARED_FILES_MAX};
use crate::wire::FilePath;

const KEY_BYTES: usize = 56;
const CHECKED_BYTES: usize = KEY_BYTES + 32 + 32;
const RECORD_BYTES: usize = CHECKED_BYTES + 8;
/// Records that are read at once.
const RECORDS_PER_READ: usize = 512;

/// A record as it stands in the file.
type Record = [u8; RECORD_BYTES];
/// What a record says of a version.
type Key = [u8; KEY_BYTES];

/// The cache of one tree: takes new digests.
#[derive(Debug)]
pub struct DigestCache {
    file: File,
    /// The places of files, by their names' hashes: two that share one lose a digest at most.
    places: BTreeMap<u64, u32>,
    /// Places before the end that no file has.
    free: Vec<u32>,
    /// How many places there are.
    end: u32,
    /// Records that are not written yet, by their places.
    pending: BTreeMap<u32, Record>,
}

/// The user's folder for caches, as the XDG base directory specification has it.
pub fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}

impl DigestCache {
    /// Opens the cache of `tree` below `caches`, with the digests of each of `files` that it
    /// knows. An error means no more than that there is no cache.
    pub fn open(
        caches: &Path,
        tree: &SharedTree,
        files: &[(FilePath, Version)],
    ) -> io::Result<(Self, Vec<Known>)> {
        let own = caches.join(env!("CARGO_PKG_NAME"));
        // No more than these two: a home that is not there is not made.
        for folder in [caches, &own] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let path = own.join(name_of(tree)?);
        if !path.exists() {
            make_room(&own)?;
        }
        let file = open_own(&path)?;
        let FoundRecords { files: found, places: end, is_even } = find(&file, files)?;
        let (places, free) = (BTreeMap::new(), Vec::new());
        let mut cache = Self { file, places, free, end, pending: BTreeMap::new() };
        let good =
            || found.iter().zip(files).filter_map(|(found, file)| Some((found.as_ref()?, file)));
        if end as usize > 2 * good().count() || !is_even {
            cache.file = replace(&path)?;
            cache.end = 0;
            for ((_, known), (path, version)) in good() {
                if let Some(place) = cache.place(path) {
                    cache.keep(place, record(&key(version), known));
                }
            }
            cache.flush();
        } else {
            let mut is_taken = vec![false; end as usize];
            for ((place, _), (path, _)) in good() {
                cache.places.insert(hash_of(path.as_str()), *place);
                is_taken[*place as usize] = true;
            }
            cache.free = (0..end).filter(|place| !is_taken[*place as usize]).collect();
        }
        let known =
            found.into_iter().map(|found| found.map(|(_, known)| known).unwrap_or_default());
        Ok((cache, known.collect()))
    }

    /// Keeps a digest of a file, in the place of that of its last version, and beside the other
    /// digest of this one.
    pub(super) fn put(&mut self, path: &FilePath, version: &Version, hash: &FileHash) {
        let Some(place) = self.place(path) else { return };
        let key = key(version);
        let mut known = self.known_at(place, &key).unwrap_or_default();
        match hash {
            FileHash::Sha256(digest) => known.sha256 = Some(*digest),
            FileHash::Blake3 { id, .. } => known.blake3 = Some(*id),
        }
        self.keep(place, record(&key, &known));
    }

    /// Returns the place of a file, a new one if it has none and there is room.
    fn place(&mut self, path: &FilePath) -> Option<u32> {
        let hash = hash_of(path.as_str());
        if let Some(place) = self.places.get(&hash) {
            return Some(*place);
        }
        let place = self.free.pop().unwrap_or(self.end);
        if place as usize >= SHARED_FILES_MAX {
            return None;
        }
        self.end = self.end.max(place + 1);
        self.places.insert(hash, place);
        Some(place)
    }

    /// Returns what the record at a place says, if it is about this version.
    fn known_at(&self, place: u32, key: &Key) -> Option<Known> {
        let mut read = [0; RECORD_BYTES];
        let record = match self.pending.get(&place) {
            Some(record) => record,
            None => {
                self.file.read_exact_at(&mut read, offset(place)).ok()?;
                &read
            }
        };
        let (found, known) = read_record(record)?;
        (found == *key).then_some(known)
    }

    fn keep(&mut self, place: u32, record: Record) {
        self.pending.insert(place, record);
        if self.pending.len() >= DIGEST_CACHE_PENDING_MAX {
            self.flush();
        }
    }

    /// Keeps no digest of a file that is gone.
    pub(super) fn forget(&mut self, path: &FilePath) {
        if let Some(place) = self.places.remove(&hash_of(path.as_str())) {
            self.pending.remove(&place);
            self.free.push(place);
        }
    }

    /// Writes the digests to be kept, those side by side at once. One that cannot be written is
    /// made again at the next start.
    pub(super) fn flush(&mut self) {
        let (mut at, mut bytes) = (0, Vec::new());
        for (place, record) in std::mem::take(&mut self.pending) {
            let offset = offset(place);
            if offset != at + bytes.len() as u64 {
                let _ = self.file.write_all_at(&bytes, at);
                bytes.clear();
                at = offset;
            }
            bytes.extend_from_slice(&record);
        }
        let _ = self.file.write_all_at(&bytes, at);
    }
}

impl Drop for DigestCache {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Returns the name of the cache of a tree.
fn name_of(tree: &SharedTree) -> io::Result<String> {
    let identity = tree.identity()?;
    Ok(match &identity[..] {
        [(device, inode, b"")] => format!("digests-{device:x}-{inode:x}"),
        several => format!("digests-of-several-{:x}", hash_of(several)),
    })
}

/// What stands in the file of a cache.
struct FoundRecords {
    /// The place of each file that is known, and its digests.
    files: Vec<Option<(u32, Known)>>,
    /// How many places there are.
    places: u32,
    /// Whether there is nothing behind the last of them.
    is_even: bool,
}

/// Finds the records of files.
fn find(mut file: &File, files: &[(FilePath, Version)]) -> io::Result<FoundRecords> {
    // By the hashes of their keys: the keys themselves would fill memory.
    let mut wanted: Vec<_> =
        (0..).zip(files).map(|(n, (_, version))| (hash_of(&key(version)), n)).collect();
    wanted.sort_unstable();
    let mut found = vec![None; files.len()];
    let (mut place, mut is_even) = (0, true);
    let mut buffer = vec![0; RECORDS_PER_READ * RECORD_BYTES];
    while (place as usize) < SHARED_FILES_MAX {
        let mut len_bytes = 0;
        loop {
            match file.read(&mut buffer[len_bytes..])? {
                0 => break,
                more_bytes => len_bytes += more_bytes,
            }
        }
        for record in buffer[..len_bytes].chunks_exact(RECORD_BYTES) {
            if let Some((found_key, known)) = read_record(record) {
                let hash = hash_of(&found_key);
                let begin = wanted.partition_point(|(other, _)| *other < hash);
                let alike = wanted[begin..].iter().take_while(|(other, _)| *other == hash);
                for &(_, n) in alike {
                    let n: u32 = n;
                    if key(&files[n as usize].1) == found_key {
                        found[n as usize] = Some((place, known));
                    }
                }
            }
            place += 1;
        }
        is_even = len_bytes % RECORD_BYTES == 0;
        if len_bytes < buffer.len() {
            break;
        }
    }
    Ok(FoundRecords { files: found, places: place, is_even })
}

fn offset(place: u32) -> u64 {
    u64::from(place) * RECORD_BYTES as u64
}

/// Removes the caches that were longest not written, until there is room for one more.
fn make_room(own: &Path) -> io::Result<()> {
    let caches = system::names_in(own)?.into_iter().filter_map(|name| {
        let path = own.join(name);
        Some((fs::symlink_metadata(&path).ok()?.modified().ok()?, path))
    });
    let mut caches: Vec<_> = caches.collect();
    caches.sort();
    let surplus = (caches.len() + 1).saturating_sub(DIGEST_CACHES_MAX);
    caches.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

/// Opens the file, which nobody else may have written.
fn open_own(path: &Path) -> io::Result<File> {
    let flags = system::no_surprise().bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(flags);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    let is_ours = metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o022 == 0;
    match is_ours {
        true => Ok(file),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Puts an empty file in the place of the old one.
fn replace(path: &Path) -> io::Result<File> {
    // Another program may have the same number, in another container.
    let new = path.with_extension(format!("new-{}", fastrand::u64(..)));
    let made = open_own(&new).and_then(|file| fs::rename(&new, path).map(|()| file));
    if made.is_err() {
        // If there is something left of it, it is in nobody's way.
        let _ = fs::remove_file(&new);
    }
    made
}

fn hash_of(what: &(impl Hash + ?Sized)) -> u64 {
    // Without random keys: asking the system for them may fail, which would end the program.
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn key(version: &Version) -> Key {
    let Version { device, inode, size_bytes, modified_ns, changed_ns, .. } = version;
    let mut key = [0; KEY_BYTES];
    let numbers = [device.to_be_bytes(), inode.to_be_bytes(), size_bytes.to_be_bytes()];
    key[..24].copy_from_slice(numbers.as_flattened());
    key[24..40].copy_from_slice(&i128::from(*modified_ns).to_be_bytes());
    key[40..].copy_from_slice(&i128::from(*changed_ns).to_be_bytes());
    key
}

fn record(key: &Key, known: &Known) -> Record {
    let mut record = [0; RECORD_BYTES];
    record[..KEY_BYTES].copy_from_slice(key);
    record[KEY_BYTES..KEY_BYTES + 32].copy_from_slice(&known.blake3.map_or([0; 32], |id| id.0));
    let sha256 = known.sha256.map_or([0; 32], |digest| digest.0);
    record[KEY_BYTES + 32..CHECKED_BYTES].copy_from_slice(&sha256);
    let check = Sha256::digest(&record[..CHECKED_BYTES]);
    record[CHECKED_BYTES..].copy_from_slice(&check[..RECORD_BYTES - CHECKED_BYTES]);
    record
}

fn read_record(record: &[u8]) -> Option<(Key, Known)> {
    let (checked, check) = record.split_at_checked(CHECKED_BYTES)?;
    let is_whole = Sha256::digest(checked)[..RECORD_BYTES - CHECKED_BYTES] == *check;
    let (key, digests) = checked.split_first_chunk()?;
    let (blake3, sha256) = digests.split_first_chunk::<32>()?;
    let sha256: &[u8; 32] = sha256.try_into().ok()?;
    let known = |bytes: &[u8; 32]| Some(*bytes).filter(|bytes| *bytes != [0; 32]);
    let known = Known { sha256: known(sha256).map(Digest), blake3: known(blake3).map(ContentId) };
    is_whole.then_some((*key, known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{ShareRules, TreeScan, Watch};

    struct Place {
        shared: tempfile::TempDir,
        caches: tempfile::TempDir,
    }

    impl Place {
        fn new(names: &[&str]) -> Self {
            let place =
                Self { shared: tempfile::tempdir().unwrap(), caches: tempfile::tempdir().unwrap() };
            for name in names {
                fs::write(place.shared.path().join(name), name).unwrap();
            }
            place
        }

        fn tree(&self) -> SharedTree {
            let root = [(None, self.shared.path().to_owned())];
            SharedTree::open(&root, ShareRules::default()).unwrap()
        }

        fn open(&self) -> (TreeScan, DigestCache, BTreeMap<String, Known>) {
            let tree = self.tree();
            let scan = tree.scan(&mut Watch::new(&tree)).unwrap();
            let (cache, known) = DigestCache::open(self.caches.path(), &tree, &scan.files).unwrap();
            let names = scan.files.iter().map(|(path, _)| path.as_str().to_owned());
            let known = names.zip(known).filter(|(_, known)| *known != Known::default());
            (TreeScan { files: scan.files.clone(), ..TreeScan::default() }, cache, known.collect())
        }

        /// A start that hashes everything.
        fn fill(&self) {
            let (scan, mut cache, _) = self.open();
            for (path, version) in &scan.files {
                cache.put(path, version, &hash_of_name(path));
            }
        }

        fn known(&self) -> BTreeMap<String, Known> {
            self.open().2
        }

        fn file(&self) -> PathBuf {
            let mut entries = fs::read_dir(self.caches.path().join("p2pfs")).unwrap();
            let path = entries.next().unwrap().unwrap().path();
            assert!(entries.next().is_none(), "one file, and nothing left beside it");
            path
        }
    }

    fn hash_of_name(path: &FilePath) -> FileHash {
        FileHash::Sha256(Digest(Sha256::digest(path.as_str()).into()))
    }

    fn known_by(name: &str) -> Known {
        let sha256 = Some(Digest(Sha256::digest(name).into()));
        Known { sha256, blake3: None }
    }

    fn path(text: &str) -> FilePath {
        FilePath::new(text).unwrap()
    }

    #[test]
    fn digests_are_known_at_the_next_start_but_not_of_what_has_changed() {
        let place = Place::new(&["a", "b", "c"]);
        assert!(place.known().is_empty());
        place.fill();
        let names = ["a", "b", "c"];
        assert_eq!(place.known(), names.map(|name| (name.to_owned(), known_by(name))).into());
        fs::write(place.shared.path().join("b"), "other").unwrap();
        fs::rename(place.shared.path().join("c"), place.shared.path().join("d")).unwrap();
        assert_eq!(place.known().into_keys().collect::<Vec<_>>(), names[..1]);
    }

    #[test]
    fn a_damaged_cache_gives_no_wrong_digest_and_is_mended() {
        let place = Place::new(&["a", "b"]);
        place.fill();
        let sound = fs::read(place.file()).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            fs::write(place.file(), &damaged).unwrap();
            assert_eq!(place.known().len(), 1, "byte {at}");
        }
        for len in 0..sound.len() {
            fs::write(place.file(), &sound[..len]).unwrap();
            assert_eq!(place.known().len(), len / RECORD_BYTES);
            assert_eq!(fs::read(place.file()).unwrap().len() % RECORD_BYTES, 0);
        }
    }

    #[test]
    fn stale_records_go_and_the_file_does_not_grow_without_end() {
        let place = Place::new(&["a"]);
        for round in 0..20 {
            fs::write(place.shared.path().join("a"), "x".repeat(round)).unwrap();
            place.fill();
            assert!(fs::read(place.file()).unwrap().len() <= 2 * RECORD_BYTES);
        }
    }

    #[test]
    fn a_million_versions_of_one_file_cost_as_much_as_one() {
        let place = Place::new(&["a", "b"]);
        place.fill();
        let (scan, mut cache, _) = place.open();
        let (path, mut version) = scan.files[0].clone();
        for changed_ns in 0..1_000_000 {
            version.changed_ns = changed_ns;
            cache.put(&path, &version, &hash_of_name(&path));
            assert!(cache.pending.len() <= 1 && cache.places.len() == 2);
        }
        drop(cache);
        assert_eq!(fs::read(place.file()).unwrap().len(), 2 * RECORD_BYTES);
        assert_eq!(place.known().into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn files_that_come_and_go_take_the_place_of_one_another() {
        let place = Place::new(&["a"]);
        place.fill();
        let (scan, mut cache, _) = place.open();
        let version = scan.files[0].1;
        for n in 0..3 * DIGEST_CACHE_PENDING_MAX {
            let path = path(&n.to_string());
            cache.put(&path, &version, &hash_of_name(&path));
            cache.forget(&path);
        }
        drop(cache);
        assert_eq!(fs::read(place.file()).unwrap().len(), RECORD_BYTES);
        assert_eq!(place.known().len(), 1);
    }

    #[test]
    fn a_home_that_is_not_there_is_not_made() {
        let place = Place::new(&["a"]);
        let tree = place.tree();
        let home = place.caches.path().join("home");
        assert!(DigestCache::open(&home.join(".cache"), &tree, &[]).is_err());
        assert!(!home.exists());
    }

    #[test]
    fn caches_of_folders_long_gone_make_room() {
        let place = Place::new(&["a"]);
        let own = place.caches.path().join("p2pfs");
        fs::create_dir(&own).unwrap();
        for number in 0..DIGEST_CACHES_MAX + 3 {
            fs::write(own.join(format!("digests-{number}")), b"").unwrap();
        }
        place.fill();
        assert_eq!(fs::read_dir(&own).unwrap().count(), DIGEST_CACHES_MAX);
        assert_eq!(place.known().len(), 1);
    }

    #[test]
    fn a_cache_that_others_can_write_or_that_is_a_link_is_not_used() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let place = Place::new(&["a"]);
        drop(place.open());
        let path = place.file();
        let tree = place.tree();
        let refused = || DigestCache::open(place.caches.path(), &tree, &[]).is_err();
        assert!(!refused());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(refused());
        fs::remove_file(&path).unwrap();
        symlink(place.shared.path().join("a"), &path).unwrap();
        assert!(refused());
        assert_eq!(fs::read(place.shared.path().join("a")).unwrap(), b"a");
    }

    #[test]
    fn both_digests_of_a_version_are_kept_and_none_of_another() {
        let place = Place::new(&["a"]);
        place.fill();
        let (scan, mut cache, _) = place.open();
        let (path, mut version) = scan.files[0].clone();
        let blake3 = |byte| FileHash::Blake3 { id: ContentId([byte; 32]), values: [].into() };
        cache.put(&path, &version, &blake3(1));
        drop(cache);
        let both = Known { blake3: Some(ContentId([1; 32])), ..known_by("a") };
        assert_eq!(place.known()["a"], both);
        // Not written yet, or written: the old version counts for nothing.
        let (_, mut cache, _) = place.open();
        version.changed_ns += 1;
        cache.put(&path, &version, &blake3(2));
        let known = cache.known_at(0, &key(&version)).unwrap();
        assert_eq!(known, Known { blake3: Some(ContentId([2; 32])), sha256: None });
    }

    #[test]
    fn files_in_folders_and_of_several_roots_are_known_again() {
        let place = Place::new(&["a"]);
        fs::create_dir_all(place.shared.path().join("b/c")).unwrap();
        fs::write(place.shared.path().join("b/c/d"), b"x").unwrap();
        place.fill();
        assert_eq!(place.known().into_keys().collect::<Vec<_>>(), ["a", "b/c/d"]);
        let at = |name: &str| place.shared.path().join(name);
        let roots = [(None, at("a")), (Some("e".to_owned()), at("b"))];
        for known in [0, 2] {
            let tree = SharedTree::open(&roots, ShareRules::default()).unwrap();
            let scan = tree.scan(&mut Watch::new(&tree)).unwrap();
            let opened = DigestCache::open(place.caches.path(), &tree, &scan.files);
            let (mut cache, found) = opened.unwrap();
            let found = found.into_iter().filter(|found| *found != Known::default());
            assert_eq!(found.count(), known);
            for (path, version) in &scan.files {
                cache.put(path, version, &hash_of_name(path));
            }
        }
        assert_eq!(place.known().len(), 2, "each tree has its own");
    }

    #[test]
    fn a_cache_of_an_earlier_build_is_dropped_quietly() {
        let place = Place::new(&["a"]);
        place.fill();
        fs::write(place.file(), [7; 96 * 3]).unwrap();
        assert!(place.known().is_empty());
        place.fill();
        assert_eq!(place.known().len(), 1);
    }
}
