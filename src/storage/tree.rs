//! The trees that are shared: one folder, or several folders and files under names of their own.
//!
//! Owns the descriptors of the roots, which are opened once. A path is looked up from its root
//! anew each time: no link is followed, and nothing that is mounted below a root is entered.
//!
//! Invariants: `roots` is in the order of its names, each of which it has once; if a root has no
//! name, it is the only one, and a folder.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath;
use super::folder::{self, SharedFolder, SkipReason, kind_if_not_regular};
use super::rules::ShareRules;
use super::source::Source;
use super::system::{self, Entry, persist, refused};
use super::walk::{Found, Walk};
use crate::content::{FileError, FolderLoss, Sight, Version};
use crate::limits::CONTENT_BYTES_MAX;
use crate::wire::{FilePath, PathError, Shown};

/// How the names begin that we use for ourselves.
const OUR_PREFIX: &[u8] = b".p2pfs-";

/// How a folder is opened that is only on the way.
const PASSAGE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What is shared.
#[derive(Debug)]
pub struct SharedTree {
    roots: Vec<Root>,
    rules: ShareRules,
}

/// One of the folders and files that are shared.
#[derive(Debug)]
struct Root {
    /// Under which others know it; `None` if what is in it stands at the top.
    name: Option<FilePath>,
    /// By which it was opened.
    path: PathBuf,
    at: At,
    is_lost: Cell<bool>,
}

#[derive(Debug)]
enum At {
    Folder(Rc<OwnedFd>),
    /// A file of this name in a folder that is not shared itself.
    File {
        folder: Rc<OwnedFd>,
        name: Box<[u8]>,
    },
}

/// What stands under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    File(Version),
    Folder,
}

/// A root that cannot be shared.
#[derive(Debug)]
pub enum RootError {
    /// Two have one name.
    SameName { name: String, one: PathBuf, other: PathBuf },
    /// Its name breaks the rule.
    Name { path: PathBuf, error: PathError },
    /// It has no name of its own, as `/` and `..`.
    NoName(PathBuf),
    /// It is neither a folder nor a regular file.
    NotRegular(PathBuf, &'static str),
    /// The system refused it.
    Io(PathBuf, io::Error),
}

/// Where a path of the tree leads.
struct Place<'a> {
    folder: BorrowedFd<'a>,
    /// Relative to the folder; empty for the folder itself.
    rest: Rest<'a>,
}

enum Rest<'a> {
    Path(&'a str),
    /// The file that is a root.
    Name(&'a [u8]),
}

impl SharedTree {
    /// Shares these, each under its name or, if it has none, its base name. One folder without
    /// a name is shared without a prefix.
    ///
    /// # Errors
    /// If one cannot be shared, or two have one name.
    pub fn open(roots: &[(Option<String>, PathBuf)], rules: ShareRules) -> Result<Self, RootError> {
        if let [(None, path)] = roots
            && path.is_dir()
        {
            let descriptor = folder::open_folder(path).map_err(io_error(path))?;
            return Ok(Self::of_folder(path, Rc::new(descriptor), rules));
        }
        let mut around = BTreeMap::new();
        let opened =
            roots.iter().map(|(name, path)| Root::open(name.as_deref(), path, &mut around));
        let mut roots = opened.collect::<Result<Vec<_>, _>>()?;
        roots.sort_by(|one, other| one.name.cmp(&other.name));
        let twins = roots.windows(2).find_map(|two| match two {
            [one, other] if one.name == other.name => Some((one, other)),
            _ => None,
        });
        if let Some((one, other)) = twins {
            let name = one.name.as_ref().map(ToString::to_string).unwrap_or_default();
            let [one, other] = [one, other].map(|root| root.path.clone());
            return Err(RootError::SameName { name, one, other });
        }
        Ok(Self { roots, rules })
    }

    /// Shares a folder into which files are fetched, too.
    pub fn of(folder: &SharedFolder, rules: ShareRules) -> Self {
        Self::of_folder(folder.path(), folder.descriptor(), rules)
    }

    fn of_folder(path: &Path, descriptor: Rc<OwnedFd>, rules: ShareRules) -> Self {
        let at = At::Folder(descriptor);
        let root = Root { name: None, path: path.to_owned(), at, is_lost: Cell::new(false) };
        Self { roots: vec![root], rules }
    }

    /// Returns the names of the roots as others write them, with a `/` behind folders; none if
    /// the only one has none.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.roots.iter().filter_map(|root| {
            let end = if root.folder().is_some() { "/" } else { "" };
            Some(format!("{}{end}", root.name.as_ref()?.as_str()))
        })
    }

    /// Returns what stands under a path that is legal; `None` if nothing does.
    ///
    /// # Errors
    /// If it is passed over.
    pub fn look_at(&self, path: &FilePath) -> Result<Option<There>, SkipReason> {
        let Some(place) = self.place(path) else { return Ok(None) };
        let (folder, name) = match place.rest {
            Rest::Name(name) => return look(place.folder, name),
            Rest::Path("") => return Ok(Some(There::Folder)),
            Rest::Path(rest) => {
                rest.rsplit_once('/').map_or(("", rest), |(folder, name)| (folder, name))
            }
        };
        if let Some(why) = self.passes_over_any(path) {
            return Err(why);
        }
        if folder.is_empty() {
            return look(place.folder, name.as_bytes());
        }
        match beneath::open_unmounted(place.folder, folder, PASSAGE) {
            Ok(folder) => look(folder.as_fd(), name.as_bytes()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(skipped(errno)),
        }
    }

    /// Opens a file for sending.
    pub fn open_source(&self, path: &FilePath) -> Result<Source, FileError> {
        let (file, version) = self.open_regular(path)?;
        Ok(Source::new(file, version))
    }

    /// Opens a file for reading.
    pub(super) fn open_regular(&self, path: &FilePath) -> Result<(File, Version), FileError> {
        let place = self.place(path).ok_or(FileError::Missing)?;
        match place.rest {
            Rest::Name(name) => system::open_regular(place.folder, name),
            Rest::Path(rest) => {
                let flags = OFlags::RDONLY | system::no_surprise();
                system::regular(beneath::open_unmounted(place.folder, rest, flags))
            }
        }
    }

    /// Returns the version of the file that stands under a path; what else may stand there has
    /// one, too.
    pub(super) fn version(&self, path: &FilePath) -> Result<Version, FileError> {
        let place = self.place(path).ok_or(FileError::Missing)?;
        let stat = match place.rest {
            Rest::Name(name) => system::stat_name(place.folder, name),
            Rest::Path(rest) => match rest.rsplit_once('/') {
                None => system::stat_name(place.folder, rest),
                Some((folder, name)) => beneath::open_unmounted(place.folder, folder, PASSAGE)
                    .and_then(|folder| system::stat_name(folder, name)),
            },
        };
        match stat {
            Ok(stat) => Ok(system::version(&stat)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(FileError::Missing),
            Err(errno) => Err(refused("stat")(errno)),
        }
    }

    /// Opens a folder to read it; `None` is the top of a tree without names.
    ///
    /// # Errors
    /// `XDEV` if something is mounted there.
    pub(super) fn open_folder(&self, path: Option<&FilePath>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = match path {
            Some(path) => self.place(path),
            None => self.top().map(|folder| Place { folder: folder.as_fd(), rest: Rest::Path("") }),
        };
        match place.ok_or(Errno::NOENT)? {
            Place { folder, rest: Rest::Path(path) } => {
                let path = if path.is_empty() { "." } else { path };
                beneath::open_unmounted(folder, path, flags)
            }
            Place { rest: Rest::Name(_), .. } => Err(Errno::NOTDIR),
        }
    }

    /// Returns why something, or a folder that it is in, is passed over.
    fn passes_over_any(&self, path: &FilePath) -> Option<SkipReason> {
        let text = path.as_str();
        // The names of roots are the user's own.
        let names = if self.top().is_some() { 0 } else { 1 };
        let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]).skip(names);
        ends.filter_map(|end| FilePath::new(&text[..end]).ok())
            .find_map(|path| self.passes_over(&path))
    }

    /// Returns why something is passed over whatever it is, if the folders that it is in are not.
    pub(super) fn passes_over(&self, path: &FilePath) -> Option<SkipReason> {
        let name = path.components().next_back().unwrap_or_default();
        if self.rules.hide(name.as_bytes()) {
            Some(SkipReason::Hidden)
        } else if self.rules.exclude(path) {
            Some(SkipReason::Excluded)
        } else {
            None
        }
    }

    /// Returns the folders among the roots, each by the path of what is in it, with its
    /// descriptor.
    pub(super) fn folders(&self) -> impl Iterator<Item = (Option<FilePath>, &OwnedFd)> {
        self.roots.iter().filter_map(|root| Some((root.name.clone(), &**root.folder()?)))
    }

    /// Returns the files among the roots: each by its path, the folder around it, and its name
    /// there.
    pub(super) fn files(&self) -> impl Iterator<Item = (FilePath, &OwnedFd, &[u8])> {
        self.roots.iter().filter_map(|root| match (&root.at, &root.name) {
            (At::File { folder, name }, Some(path)) if !root.is_lost.get() => {
                Some((path.clone(), &**folder, &**name))
            }
            _ => None,
        })
    }

    /// Returns the paths of the files among the roots.
    pub fn file_roots(&self) -> impl Iterator<Item = FilePath> {
        self.files().map(|(path, ..)| path)
    }

    /// Returns whether a folder is there in which nothing is shared, as far as its first
    /// `names_max` names show.
    pub fn is_empty_folder(&self, path: &FilePath, names_max: usize) -> bool {
        let mut walk = Walk::default();
        walk.add(Some(path.clone()), Sight::Looked);
        for _ in 0..names_max {
            match walk.step(self, None) {
                Some(Found::EmptyFolder(_)) => return true,
                Some(Found::Nothing | Found::Skipped(_)) if !walk.has_found_folder() => {}
                _ => return false,
            }
        }
        false
    }

    /// Finds out which folders among the roots were lost since the last call, and how. Nothing
    /// of them is found any more.
    pub fn lose(&self) -> Vec<(Option<FilePath>, FolderLoss)> {
        let lost = self.roots.iter().filter_map(|root| {
            let loss = folder::loss(root.folder()?, &root.path)?;
            root.is_lost.set(true);
            Some((root.name.clone(), loss))
        });
        lost.collect()
    }

    /// Returns whether nothing is left that could be shared.
    pub fn is_lost(&self) -> bool {
        self.roots.iter().all(|root| root.is_lost.get())
    }

    /// Returns what tells its roots from other ones: of each the device and the inode, and the
    /// name of a file.
    pub(super) fn identity(&self) -> io::Result<Vec<(u64, u64, &[u8])>> {
        let identity = self.roots.iter().map(|root| {
            let (folder, name) = match &root.at {
                At::Folder(folder) => (folder, &b""[..]),
                At::File { folder, name } => (folder, &**name),
            };
            let stat = persist(|| rustix::fs::fstat(&**folder))?;
            Ok((stat.st_dev, stat.st_ino, name))
        });
        identity.collect()
    }

    /// The path by which a root was opened.
    pub(super) fn root_path(&self, name: Option<&FilePath>) -> PathBuf {
        let root = self.roots.iter().find(|root| root.name.as_ref() == name);
        root.map(|root| root.path.clone()).unwrap_or_default()
    }

    fn top(&self) -> Option<&OwnedFd> {
        let root = self.roots.first().filter(|root| root.name.is_none())?;
        Some(root.folder()?)
    }

    fn place<'a>(&'a self, path: &'a FilePath) -> Option<Place<'a>> {
        if let Some(top) = self.top() {
            return Some(Place { folder: top.as_fd(), rest: Rest::Path(path.as_str()) });
        }
        let (name, rest) = path.as_str().split_once('/').unwrap_or((path.as_str(), ""));
        let by_name = |root: &Root| root.name.as_ref().map(FilePath::as_str).cmp(&Some(name));
        let root = self.roots.get(self.roots.binary_search_by(by_name).ok()?)?;
        match &root.at {
            _ if root.is_lost.get() => None,
            At::Folder(folder) => Some(Place { folder: folder.as_fd(), rest: Rest::Path(rest) }),
            At::File { folder, name } if rest.is_empty() => {
                Some(Place { folder: folder.as_fd(), rest: Rest::Name(name) })
            }
            At::File { .. } => None,
        }
    }
}

impl Root {
    /// Opens a root; a folder `around` several files is opened once.
    fn open(
        name: Option<&str>,
        path: &Path,
        around: &mut BTreeMap<PathBuf, Rc<OwnedFd>>,
    ) -> Result<Self, RootError> {
        let metadata = std::fs::metadata(path).map_err(io_error(path))?;
        // `.` and what ends with `..` have their names elsewhere; a link to a file is one of
        // its folder.
        let own_name = |path: &Path| Some(path.file_name()?.as_bytes().to_owned());
        let real = std::fs::canonicalize(path).map_err(io_error(path))?;
        let name = match name {
            Some(name) => name.as_bytes().to_owned(),
            None => own_name(path)
                .or_else(|| own_name(&real))
                .ok_or_else(|| RootError::NoName(path.to_owned()))?,
        };
        let name = FilePath::in_folder(None, &name)
            .map_err(|error| RootError::Name { path: path.to_owned(), error })?;
        let at = if metadata.is_dir() {
            At::Folder(Rc::new(folder::open_folder(path).map_err(io_error(path))?))
        } else {
            if let Some(kind) = kind_if_not_regular(FileType::from_raw_mode(mode_of(&metadata))) {
                return Err(RootError::NotRegular(path.to_owned(), kind));
            }
            let no_name = || RootError::NoName(path.to_owned());
            let parent = real.parent().ok_or_else(no_name)?;
            let folder = match around.get(parent) {
                Some(folder) => Rc::clone(folder),
                None => Rc::new(folder::open_folder(parent).map_err(io_error(path))?),
            };
            around.insert(parent.to_owned(), Rc::clone(&folder));
            At::File { folder, name: own_name(&real).ok_or_else(no_name)?.into() }
        };
        Ok(Self { name: Some(name), path: path.to_owned(), at, is_lost: Cell::new(false) })
    }

    /// Returns the folder that it is, if that is not lost.
    fn folder(&self) -> Option<&Rc<OwnedFd>> {
        match &self.at {
            At::Folder(folder) if !self.is_lost.get() => Some(folder),
            At::Folder(_) | At::File { .. } => None,
        }
    }
}

/// Returns what stands under a name in a folder; `None` if nothing does.
///
/// # Errors
/// If it is passed over.
pub(super) fn look(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<There>, SkipReason> {
    let Entry { mode, version, is_mounted } = match system::entry(folder, name) {
        Ok(entry) => entry,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(skipped(errno)),
    };
    if is_mounted {
        return Err(SkipReason::Mounted);
    }
    let kind = FileType::from_raw_mode(mode);
    let there = match kind {
        FileType::Directory => There::Folder,
        FileType::RegularFile if version.size_bytes > CONTENT_BYTES_MAX => {
            return Err(SkipReason::TooLarge);
        }
        _ => There::File(version),
    };
    if let Some(kind) = kind_if_not_regular(kind).filter(|_| there != There::Folder) {
        return Err(SkipReason::NotRegular(kind));
    }
    // Most may be read by anyone: only of the others it has to be asked.
    let for_all = Mode::RUSR | Mode::RGRP | Mode::ROTH;
    if !Mode::from_raw_mode(mode).contains(for_all) && system::is_denied(folder, name) {
        return Err(SkipReason::Io(io::ErrorKind::PermissionDenied));
    }
    Ok(Some(there))
}

/// Returns why something is passed over that the system refuses.
pub(super) fn skipped(errno: Errno) -> SkipReason {
    match errno {
        Errno::XDEV => SkipReason::Mounted,
        errno => SkipReason::Io(io::Error::from(errno).kind()),
    }
}

/// Whether a name is one of ours, of which nobody is told.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name.starts_with(OUR_PREFIX)
}

fn mode_of(metadata: &std::fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(metadata)
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> RootError {
    move |error| RootError::Io(path.to_owned(), error)
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| Shown(path.to_string_lossy()).to_string();
        match self {
            Self::SameName { name, one, other } => {
                let (one, other) = (shown(one), shown(other));
                write!(f, "{one} and {other} would both be shared as {name}; ")?;
                write!(f, "give one of them another name: NAME={other}")
            }
            Self::Name { path, error } => {
                let path = shown(path);
                write!(f, "cannot share {path} under its name: {error}; ")?;
                write!(f, "give it another one: NAME={path}")
            }
            Self::NoName(path) => {
                let path = shown(path);
                write!(f, "{path} has no name of its own; give it one: NAME={path}")
            }
            Self::NotRegular(path, kind) => {
                write!(
                    f,
                    "cannot share {}: it is neither a folder nor a file but {kind}",
                    shown(path)
                )
            }
            Self::Io(path, error) => {
                write!(f, "cannot read {}: {error}; choose another path", shown(path))
            }
        }
    }
}

impl std::error::Error for RootError {}
