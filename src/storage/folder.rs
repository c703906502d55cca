//! The shared folder itself: what stands in it, and opening files of it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::commit::commit;
use super::partial::{Committed, Partial, Target};
use super::simulated::MARK;
use super::system::{self, persist};
use super::temporary;
use crate::content::{Attributes, Content, FailedCall, FileError, FolderLoss, OnConflict, Version};
use crate::count::Bytes;
use crate::limits::{CONTENT_BYTES_MAX, SHARED_FILES_MAX};
use crate::wire::v0::{FileName, NameError};
use crate::wire::{FilePath, PathError, Shown};

/// The folder whose files are shared, and into which files are fetched.
#[derive(Debug)]
pub struct SharedFolder {
    /// By which it was opened: it may lead elsewhere by now.
    path: PathBuf,
    // Shared with the partial files and hash jobs, which may outlive a borrow of this.
    descriptor: Rc<OwnedFd>,
    settings: WriteSettings,
    // Shared with the partial files.
    target: Rc<Target>,
}

/// How files are written.
#[derive(Clone, Copy, Debug)]
pub struct WriteSettings {
    /// Whether a file survives a loss of power once it is committed.
    pub sync: bool,
    /// How much of the disk is left free; `None` for the usual reserve.
    pub disk_reserve_bytes: Option<u64>,
    /// What to do if something stands under a file's final name.
    pub on_conflict: OnConflict,
    /// Whether the partial files of contents of several blocks stay for a later run.
    pub keeps_partials: bool,
}

/// The names in a folder, but for what we put there for ourselves.
#[derive(Debug)]
struct Names(Dir);

/// What [`SharedFolder::scan`] found, by name.
#[derive(Debug, Default)]
pub struct Scan {
    /// The files that can be offered.
    pub files: Vec<(FileName, Version)>,
    /// What cannot be.
    pub skipped: Vec<Skipped>,
}

/// Something in a folder that is passed over. Displays as one line, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name as it is, unescaped; what is not UTF-8 is replaced.
    pub name: String,
    /// Why.
    pub why: SkipReason,
}

/// Why something in a folder is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Its name is not legal in version 0.
    Name(NameError),
    /// Its path is not legal.
    Path(PathError),
    /// Its name begins with a dot.
    Hidden,
    /// The user wants it left out.
    Excluded,
    /// Something is mounted there.
    Mounted,
    /// It is larger than [`CONTENT_BYTES_MAX`].
    TooLarge,
    /// It is not a regular file, but this.
    NotRegular(&'static str),
    /// The system did not say what it is.
    Io(io::ErrorKind),
    /// It and all that follow are beyond [`SHARED_FILES_MAX`].
    TooMany,
}

impl SharedFolder {
    /// Opens the folder, and removes the partial files which dead processes left
    /// in it, never those of a living one. Whatever cannot be removed stays.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::opened(path, open_folder(path)?)
    }

    /// Does the same with a folder that is open, whatever stands at its path by now.
    pub(super) fn open_again(path: &Path, folder: impl AsFd) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&folder, ".", flags, Mode::empty());
        Self::opened(path, persist(open)?)
    }

    fn opened(path: &Path, descriptor: OwnedFd) -> io::Result<Self> {
        temporary::sweep(&descriptor)?;
        Ok(Self::new(path, descriptor, None))
    }

    fn new(path: &Path, descriptor: OwnedFd, unnamed: Option<Committed>) -> Self {
        let (sync, on_conflict) = (true, OnConflict::Refuse);
        let (disk_reserve_bytes, keeps_partials) = (None, true);
        let settings = WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials };
        let descriptor = Rc::new(descriptor);
        // For errors, which are copied: a program has few folders, for as long as it runs.
        let shown = Shown(path.to_string_lossy()).to_string().leak();
        let target = Rc::new(Target::new(Rc::clone(&descriptor), shown, unnamed));
        Self { path: path.to_owned(), descriptor, settings, target }
    }

    /// Opens a folder into which one file is fetched that never has a name there: it goes with
    /// the last descriptor. Also returns where that file is put when it is committed, to be
    /// read from its start.
    ///
    /// # Errors
    /// If no file can be made there.
    pub fn open_unnamed(path: &Path) -> io::Result<(Self, Committed)> {
        let committed = Committed::default();
        let mut folder = Self::new(path, open_folder(path)?, Some(Rc::clone(&committed)));
        system::create_unnamed(&folder.descriptor)?;
        folder.settings.sync = false;
        Ok((folder, committed))
    }

    /// Whether a file can be made here at all; what may pass, such as a full disk, counts for
    /// nothing.
    ///
    /// # Errors
    /// If it cannot.
    pub fn check_writable(&self) -> io::Result<()> {
        match system::create_unnamed(&self.descriptor) {
            Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT)) => {
                Err(errno.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether a commit waits until the files would survive a loss of power.
    pub fn syncs(&self) -> bool {
        self.settings.sync
    }

    /// Writes as told from now on.
    pub fn set(&mut self, settings: WriteSettings) {
        self.settings = settings;
    }

    /// Returns every file that can be offered, and what cannot be, with why. Our own
    /// temporary files are in neither. One system call for each file.
    pub fn scan(&self) -> io::Result<Scan> {
        self.scan_up_to(SHARED_FILES_MAX)
    }

    /// The names in it, in no order, read as they are asked for.
    fn names(&self) -> io::Result<Names> {
        Ok(Names(system::entries(&self.descriptor)?))
    }

    /// What stands under a name; `None` if nothing does.
    pub fn look_at(&self, name: &[u8]) -> Result<Option<(FileName, Version)>, SkipReason> {
        let name = FileName::from_bytes(name).map_err(SkipReason::Name)?;
        let stat = match system::stat_name(&self.descriptor, name.as_str()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(SkipReason::Io(io::Error::from(errno).kind())),
        };
        if let Some(kind) = kind_if_not_regular(FileType::from_raw_mode(stat.st_mode)) {
            return Err(SkipReason::NotRegular(kind));
        }
        // Most files may be read by anyone: only of the others it has to be asked.
        let for_all = Mode::RUSR | Mode::RGRP | Mode::ROTH;
        if !Mode::from_raw_mode(stat.st_mode).contains(for_all)
            && system::is_denied(&self.descriptor, name.as_str())
        {
            return Err(SkipReason::Io(io::ErrorKind::PermissionDenied));
        }
        Ok(Some((name, system::version(&stat))))
    }

    /// Creates a partial file that is to get this name. `Exists` if anything stands
    /// there already, be it a link to nowhere, and it is not to be fetched then; `NoFile` if it
    /// is no file that could be skipped.
    pub fn create_partial(&self, name: &FileName) -> Result<Partial, FileError> {
        let place = self.target.folders().place(&FilePath::from(*name))?;
        Partial::create(&self.target, place, self.settings)
    }

    /// Opens the partial file of a content that is to get this path, and returns where it has
    /// bytes already, in whole blocks. The folders on the way are made.
    ///
    /// # Errors
    /// As [`Self::create_partial`]; if something that is no folder is on the way; and if there is
    /// no room on the disk for what is missing of it.
    pub fn open_partial(
        &self,
        path: &FilePath,
        content: Content,
        attributes: Attributes,
    ) -> Result<(Partial, Vec<Range<u64>>), FileError> {
        let place = self.target.place(path)?;
        Partial::of_content(&self.target, place, (content, attributes), self.settings)
    }

    /// Creates a partial file of a content that is continued by no later run.
    pub(super) fn create_copy(
        &self,
        path: &FilePath,
        content: Content,
        attributes: Attributes,
    ) -> Result<Partial, FileError> {
        let settings = WriteSettings { keeps_partials: false, ..self.settings };
        let place = self.target.place(path)?;
        Ok(Partial::of_content(&self.target, place, (content, attributes), settings)?.0)
    }

    /// Makes a folder, and those on the way to it, unless it is there.
    ///
    /// # Errors
    /// If it cannot be made, or something that is no folder is in the way.
    pub fn make_folder(&self, path: &FilePath) -> Result<(), FileError> {
        let folders = self.target.folders();
        folders.make(path.as_str())?;
        if self.settings.sync { folders.sync() } else { Ok(()) }
    }

    /// Makes files of this folder safe under their final names, replacing nothing unless
    /// that is wanted. Those that fail are removed. This is the one call that may block
    /// for long.
    pub fn commit(&self, partials: Vec<Partial>) -> Vec<Result<(FilePath, Version), FileError>> {
        commit(self.target.folders(), partials, self.settings.sync)
    }

    /// The path by which it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn descriptor(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.descriptor)
    }

    fn scan_up_to(&self, entries_max: usize) -> io::Result<Scan> {
        let mut scan = Scan::default();
        let mut surplus = None;
        for name in self.names()? {
            let name = name?;
            let skipped = |why| Skipped::new(&name, why);
            if scan.files.len() + scan.skipped.len() == entries_max {
                surplus = Some(skipped(SkipReason::TooMany));
                break;
            }
            match self.look_at(&name) {
                Ok(Some(file)) => scan.files.push(file),
                // It went away in the meantime.
                Ok(None) => {}
                Err(why) => scan.skipped.push(skipped(why)),
            }
        }
        scan.files.sort_unstable_by_key(|&(name, _)| name);
        scan.skipped.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        scan.skipped.extend(surplus);
        Ok(scan)
    }
}

impl Iterator for Names {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let name = match self.0.next()? {
                Ok(entry) => entry.file_name().to_bytes().to_owned(),
                Err(errno) => return Some(Err(errno.into())),
            };
            if !matches!(&name[..], b"." | b"..") && !is_our_own(&name) {
                return Some(Ok(name));
            }
        }
    }
}

/// Opens a folder to read it.
pub(super) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = persist(|| rustix::fs::open(path, flags, Mode::empty()))?;
    // The folder where this program was started may be gone.
    let stat = persist(|| rustix::fs::fstat(&descriptor))?;
    if is_removed(&descriptor, &stat) {
        return Err(Errno::NOENT.into());
    }
    Ok(descriptor)
}

/// How a folder that is open was lost; `None` if it is still there under its path, or if that
/// is not to be found out now.
pub(super) fn loss(descriptor: &OwnedFd, path: &Path) -> Option<FolderLoss> {
    let ours = match persist(|| rustix::fs::fstat(descriptor)) {
        Ok(ours) => ours,
        Err(errno) => return dead(errno),
    };
    if is_removed(descriptor, &ours) {
        return Some(FolderLoss::Gone);
    }
    match persist(|| rustix::fs::stat(path)) {
        Ok(there) if system::is_same_file(&ours, &there) => None,
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Some(FolderLoss::Elsewhere),
        Err(errno) => dead(errno),
    }
}

/// Whether a folder that is open was removed. Some file systems count no links at all.
pub(super) fn is_removed(descriptor: &OwnedFd, stat: &Stat) -> bool {
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let is_deleted = || {
        let path = persist(|| rustix::fs::readlink(path.as_str(), Vec::new()));
        path.is_ok_and(|path| path.to_bytes().ends_with(b" (deleted)"))
    };
    stat.st_nlink == 0 && is_deleted()
}

/// The loss of a folder whose file system fails so: it was served by a program or a host that
/// is gone, or a device.
fn dead(errno: Errno) -> Option<FolderLoss> {
    let is_dead = matches!(
        errno,
        Errno::STALE | Errno::NOTCONN | Errno::SHUTDOWN | Errno::NODEV | Errno::NXIO
    );
    let failed = FailedCall { call: "stat", errno: errno.raw_os_error() };
    is_dead.then_some(FolderLoss::Failed(failed))
}

/// Whether a name is one that we use for ourselves in a shared folder.
pub(super) fn is_our_own(name: &[u8]) -> bool {
    name == MARK.as_bytes() || temporary::is_temporary(name)
}

/// What to call something that is not a regular file.
pub(super) fn kind_if_not_regular(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::RegularFile => None,
        FileType::Directory => Some("a folder"),
        FileType::Symlink => Some("a link"),
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("of unknown kind"),
    }
}

impl Skipped {
    /// Passed over for this reason.
    pub fn new(name: &[u8], why: SkipReason) -> Self {
        Self { name: String::from_utf8_lossy(name).into_owned(), why }
    }

    /// Passed over in a folder; `None` is the top.
    pub fn in_folder(folder: Option<&FilePath>, name: &[u8], why: SkipReason) -> Self {
        let name = String::from_utf8_lossy(name);
        match folder {
            Some(folder) => Self { name: format!("{}/{name}", folder.as_str()), why },
            None => Self { name: name.into_owned(), why },
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Shown(&self.name), self.why)
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::Path(error) => error.fmt(f),
            Self::Hidden => f.write_str("the name begins with a dot"),
            Self::Excluded => f.write_str("it is excluded"),
            Self::Mounted => f.write_str("another file system is mounted there"),
            Self::TooLarge => write!(f, "it is larger than {}", Bytes(CONTENT_BYTES_MAX)),
            Self::NotRegular(kind) => write!(f, "not a regular file but {kind}"),
            Self::Io(kind) => kind.fmt(f),
            Self::TooMany => {
                write!(f, "left out with all that follow: more than {SHARED_FILES_MAX} files")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::storage::{ShareRules, SharedTree};

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    fn make_fifo(path: &Path) {
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
    }

    #[test]
    fn a_scan_sorts_what_can_be_offered_from_what_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("b"), b"four").unwrap();
        fs::write(at("a"), b"").unwrap();
        File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        fs::write(at(".hidden"), b"x").unwrap();
        fs::write(at("evil\x1b[2J"), b"x").unwrap();
        fs::write(at("n".repeat(65).as_str()), b"x").unwrap();
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff")), b"x").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("/etc/passwd", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        make_fifo(&at("fifo"));
        let _listener = UnixListener::bind(at("socket")).unwrap();
        fs::write(at(MARK), b"").unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let _partial = shared.create_partial(&name("coming")).unwrap();

        let scan = shared.scan().unwrap();
        let files: Vec<_> = scan.files.iter().map(|(n, v)| (n.as_str(), v.size_bytes)).collect();
        assert_eq!(files, [("a", 0), ("b", 4), ("sparse", 1 << 40)]);
        let skipped: Vec<_> = scan.skipped.iter().map(ToString::to_string).collect();
        let too_long = format!("{}: the name is longer than 64 bytes", "n".repeat(65));
        assert_eq!(
            skipped,
            [
                ".hidden: the name begins with a dot",
                "dangling: not a regular file but a link",
                "evil\\u{1b}[2J: the name holds a control character",
                "fifo: not a regular file but a FIFO",
                "folder: not a regular file but a folder",
                "link: not a regular file but a link",
                &too_long,
                "socket: not a regular file but a socket",
                "\u{fffd}: the name is not UTF-8",
            ]
        );
        let tree = SharedTree::of(&shared, ShareRules::default());
        let source = tree.open_source(&name("b").into()).unwrap();
        assert_eq!(scan.files[1].1, source.version(), "scan and open see the same version");
    }

    #[test]
    fn a_scan_ends_at_its_limit_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..5 {
            fs::write(folder.path().join(format!("f{n}")), b"").unwrap();
        }
        let shared = SharedFolder::open(folder.path()).unwrap();
        let scan = shared.scan_up_to(3).unwrap();
        assert_eq!(scan.files.len(), 3);
        assert_eq!(scan.skipped.len(), 1);
        assert_eq!(scan.skipped[0].why, SkipReason::TooMany);
        let scan = shared.scan_up_to(5).unwrap();
        assert_eq!((scan.files.len(), scan.skipped.len()), (5, 0));
    }

    #[test]
    fn only_a_regular_file_is_opened_and_a_fifo_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), b"x").unwrap();
        symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        make_fifo(&at("fifo"));
        let _listener = UnixListener::bind(at("socket")).unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let tree = SharedTree::of(&shared, ShareRules::default());
        tree.open_source(&name("file").into()).unwrap();
        for other in ["link", "folder", "fifo", "socket", "absent"] {
            let error = tree.open_source(&name(other).into()).unwrap_err();
            assert_eq!(error, FileError::Missing, "{other}");
        }
    }

    #[test]
    fn everything_goes_to_the_folder_first_opened() {
        let outer = tempfile::tempdir().unwrap();
        let (path, moved) = (outer.path().join("shared"), outer.path().join("moved"));
        let elsewhere = outer.path().join("elsewhere");
        fs::create_dir(&path).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        let shared = SharedFolder::open(&path).unwrap();
        fs::rename(&path, &moved).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let mut partial = shared.create_partial(&name("f")).unwrap();
        partial.write(b"here", 0).unwrap();
        shared.commit(vec![partial]).remove(0).unwrap();
        assert_eq!(fs::read(moved.join("f")).unwrap(), b"here");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);

        fs::remove_dir_all(&moved).unwrap();
        let error = shared.create_partial(&name("f")).unwrap_err();
        assert_eq!(error, crate::storage::refused("open")(Errno::NOENT));
    }

    #[test]
    fn what_is_no_folder_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let kind = SharedFolder::open(&file).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::NotADirectory);
        let kind = SharedFolder::open(&folder.path().join("absent")).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::NotFound);
    }
}
