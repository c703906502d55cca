//! Digests kept between runs, so that unchanged files are not hashed at each start.
//!
//! One file for each shared folder, in the user's cache folder, of records that each
//! name a version and its digest. Each file of the folder has one place in it, where its next
//! version takes that of the last, and the place of one that is gone is used again: however
//! often files change, it is as large as they are many. A start that finds more stale records
//! than good ones writes the file anew. Nothing depends on it: a record that is damaged fails
//! its check, one whose version is not what stands in the folder is passed over, and without
//! the file everything is hashed. Even a wrong digest does no harm for long, since the node
//! has a file hashed again before it sends such a digest for the first time.
//!
//! ```text
//! record: device 8, inode 8, size 8, modified 16, changed 16, digest 32, check 8 bytes
//! ```
//!
//! Numbers are big-endian; the check is the beginning of the SHA-256 of what is before it.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::folder::SharedFolder;
use super::system;
use crate::content::Digest;
use crate::content::Version;
use crate::limits::{
    DIGEST_CACHE_FILE_BYTES_MAX, DIGEST_CACHE_PENDING_MAX, DIGEST_CACHES_MAX, SHARED_FILES_MAX,
};
use crate::wire::FilePath;
use crate::wire::v0::FileName;

const KEY_BYTES: usize = 56;
const CHECKED_BYTES: usize = KEY_BYTES + 32;
const RECORD_BYTES: usize = CHECKED_BYTES + 8;

/// A record as it stands in the file.
type Record = [u8; RECORD_BYTES];

/// The cache of one folder: takes new digests.
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
    /// Opens the cache of `folder` below `caches`, with the digest of each of `files` that
    /// it knows. An error means no more than that there is no cache.
    pub fn open(
        caches: &Path,
        folder: &SharedFolder,
        files: &[(FileName, Version)],
    ) -> io::Result<(Self, BTreeMap<FileName, Digest>)> {
        let own = caches.join(env!("CARGO_PKG_NAME"));
        // No more than these two: a home that is not there is not made.
        for folder in [caches, &own] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let stat = rustix::fs::fstat(&*folder.descriptor())?;
        let path = own.join(format!("digests-{:x}-{:x}", stat.st_dev, stat.st_ino));
        let mut known = Vec::new();
        if !path.exists() {
            make_room(&own)?;
        }
        let file = open_own(&path)?;
        (&file).take(DIGEST_CACHE_FILE_BYTES_MAX).read_to_end(&mut known)?;

        let places = (0..).zip(known.chunks(RECORD_BYTES));
        let records: BTreeMap<_, _> = places
            .filter_map(|(place, record)| {
                let (key, digest) = read_record(record)?;
                Some((key, (place, digest)))
            })
            .collect();
        let good: Vec<_> = files
            .iter()
            .filter_map(|(name, version)| {
                let (place, digest) = records.get(&key(version))?;
                Some((*name, version, *place, *digest))
            })
            .collect();
        let end = known.len() / RECORD_BYTES;
        let mut cache = Self {
            file,
            places: BTreeMap::new(),
            free: Vec::new(),
            end: end as u32,
            pending: BTreeMap::new(),
        };
        if end > 2 * good.len() || known.len() % RECORD_BYTES != 0 {
            cache.file = replace(&path)?;
            cache.end = 0;
            for (name, version, _, digest) in &good {
                cache.put(&FilePath::from(*name), version, digest);
            }
            cache.flush();
        } else {
            for (name, _, place, _) in &good {
                cache.places.insert(hash_of(name.as_str()), *place);
            }
            let taken: BTreeSet<_> = good.iter().map(|(_, _, place, _)| *place).collect();
            cache.free = (0..cache.end).filter(|place| !taken.contains(place)).collect();
        }
        Ok((cache, good.into_iter().map(|(name, _, _, digest)| (name, digest)).collect()))
    }

    /// Keeps the digest of a file, in the place of that of its last version.
    pub(super) fn put(&mut self, path: &FilePath, version: &Version, digest: &Digest) {
        let hash = hash_of(path.as_str());
        let place = match self.places.get(&hash) {
            Some(place) => *place,
            None => {
                let place = self.free.pop().unwrap_or(self.end);
                if place as usize >= SHARED_FILES_MAX {
                    return;
                }
                self.end = self.end.max(place + 1);
                self.places.insert(hash, place);
                place
            }
        };
        self.pending.insert(place, record(version, digest));
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
            let offset = u64::from(place) * RECORD_BYTES as u64;
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

fn hash_of(path: &str) -> u64 {
    // Without random keys: asking the system for them may fail, which would end the program.
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn key(version: &Version) -> [u8; KEY_BYTES] {
    let Version { device, inode, size_bytes, modified_ns, changed_ns, .. } = version;
    let mut key = [0; KEY_BYTES];
    let numbers = [device.to_be_bytes(), inode.to_be_bytes(), size_bytes.to_be_bytes()];
    key[..24].copy_from_slice(numbers.as_flattened());
    key[24..40].copy_from_slice(&modified_ns.to_be_bytes());
    key[40..].copy_from_slice(&changed_ns.to_be_bytes());
    key
}

fn record(version: &Version, digest: &Digest) -> Record {
    let mut record = [0; RECORD_BYTES];
    record[..KEY_BYTES].copy_from_slice(&key(version));
    record[KEY_BYTES..CHECKED_BYTES].copy_from_slice(&digest.0);
    let check = Sha256::digest(&record[..CHECKED_BYTES]);
    record[CHECKED_BYTES..].copy_from_slice(&check[..RECORD_BYTES - CHECKED_BYTES]);
    record
}

fn read_record(record: &[u8]) -> Option<([u8; KEY_BYTES], Digest)> {
    let (checked, check) = record.split_at_checked(CHECKED_BYTES)?;
    let is_whole = Sha256::digest(checked)[..RECORD_BYTES - CHECKED_BYTES] == *check;
    let (key, digest) = checked.split_first_chunk()?;
    is_whole.then_some((*key, Digest(digest.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Scan;

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

        fn open(&self) -> (Scan, DigestCache, BTreeMap<FileName, Digest>) {
            let folder = SharedFolder::open(self.shared.path()).unwrap();
            let scan = folder.scan().unwrap();
            let opened = DigestCache::open(self.caches.path(), &folder, &scan.files);
            let (cache, known) = opened.unwrap();
            (scan, cache, known)
        }

        /// A start that hashes everything.
        fn fill(&self) {
            let (scan, mut cache, _) = self.open();
            for (name, version) in &scan.files {
                cache.put(&FilePath::from(*name), version, &digest_of(*name));
            }
        }

        fn known(&self) -> BTreeMap<FileName, Digest> {
            self.open().2
        }

        fn file(&self) -> PathBuf {
            let mut entries = fs::read_dir(self.caches.path().join("p2pfs")).unwrap();
            let path = entries.next().unwrap().unwrap().path();
            assert!(entries.next().is_none(), "one file, and nothing left beside it");
            path
        }
    }

    fn digest_of(name: FileName) -> Digest {
        Digest(Sha256::digest(name.as_str()).into())
    }

    #[test]
    fn digests_are_known_at_the_next_start_but_not_of_what_has_changed() {
        let place = Place::new(&["a", "b", "c"]);
        assert!(place.known().is_empty());
        place.fill();
        let names = ["a", "b", "c"].map(|name| FileName::new(name).unwrap());
        assert_eq!(place.known(), names.map(|name| (name, digest_of(name))).into());
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
        let (path, mut version) = (FilePath::from(scan.files[0].0), scan.files[0].1);
        for changed_ns in 0..1_000_000 {
            version.changed_ns = changed_ns;
            cache.put(&path, &version, &digest_of(scan.files[0].0));
            assert!(cache.pending.len() <= 1 && cache.places.len() == 2);
        }
        drop(cache);
        assert_eq!(fs::read(place.file()).unwrap().len(), 2 * RECORD_BYTES);
        assert_eq!(place.known().into_keys().collect::<Vec<_>>(), [scan.files[1].0]);
    }

    #[test]
    fn files_that_come_and_go_take_the_place_of_one_another() {
        let place = Place::new(&["a"]);
        place.fill();
        let (scan, mut cache, _) = place.open();
        let version = scan.files[0].1;
        for n in 0..3 * DIGEST_CACHE_PENDING_MAX {
            let path = FilePath::from(FileName::new(&n.to_string()).unwrap());
            cache.put(&path, &version, &digest_of(scan.files[0].0));
            cache.forget(&path);
        }
        drop(cache);
        assert_eq!(fs::read(place.file()).unwrap().len(), RECORD_BYTES);
        assert_eq!(place.known().len(), 1);
    }

    #[test]
    fn a_home_that_is_not_there_is_not_made() {
        let place = Place::new(&["a"]);
        let folder = SharedFolder::open(place.shared.path()).unwrap();
        let home = place.caches.path().join("home");
        assert!(DigestCache::open(&home.join(".cache"), &folder, &[]).is_err());
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
        let folder = SharedFolder::open(place.shared.path()).unwrap();
        let refused = || DigestCache::open(place.caches.path(), &folder, &[]).is_err();
        assert!(!refused());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(refused());
        fs::remove_file(&path).unwrap();
        symlink(place.shared.path().join("a"), &path).unwrap();
        assert!(refused());
        assert_eq!(fs::read(place.shared.path().join("a")).unwrap(), b"a");
    }
}
