//! A small file that others read while it is written anew again and again.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::system::{self, persist};

/// Gives a file new content: a reader sees the old one or the new one, whole. It need not
/// survive a loss of power.
///
/// # Errors
/// If something stands there that is no regular file, or the new one cannot be written or
/// renamed; then what stands there stays as it is.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let folder = persist(|| rustix::fs::open(parent, flags, Mode::empty()))?;
    match system::stat_name(&folder, name) {
        Ok(stat) if system::is_regular(&stat) => {}
        Err(Errno::NOENT) => {}
        Ok(_) => return Err(io::Error::other("it is there, and no regular file")),
        Err(errno) => return Err(errno.into()),
    }
    // Nobody can be there first: the number is not to be foreseen.
    let new = format!(".p2pfs-{:016x}.new", RandomState::new().hash_one(std::process::id()));
    let mut file = system::create_new(&folder, &*new, Mode::from_raw_mode(0o666))?;
    let written = file
        .write_all(content)
        .and_then(|()| Ok(persist(|| rustix::fs::renameat(&folder, &*new, &folder, name))?));
    if written.is_err() {
        // If even that fails, there is nothing left to do.
        let _ = rustix::fs::unlinkat(&folder, &*new, AtFlags::empty());
    }
    written
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType};

    use super::*;

    #[test]
    fn the_old_content_gives_way_to_the_new_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for content in ["old and long", "new"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::create_dir(folder.path().join("folder")).unwrap();
        assert!(replace(&folder.path().join("folder"), b"x").is_err());
        assert!(replace(&folder.path().join("none/file"), b"x").is_err());
        assert!(replace(Path::new("/"), b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn nothing_but_a_regular_file_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "precious").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for name in ["link", "dangling", "fifo", "socket"] {
            let before = fs::symlink_metadata(path(name)).unwrap().file_type();
            let error = replace(&path(name), b"x").unwrap_err();
            assert_eq!(error.to_string(), "it is there, and no regular file");
            assert_eq!(fs::symlink_metadata(path(name)).unwrap().file_type(), before);
        }
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5, "and nothing else");
    }
}
