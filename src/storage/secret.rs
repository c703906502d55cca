//! The file that holds the secret of a group.
//!
//! Each function opens the file once, and asks that descriptor for its owner and its permissions.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use rustix::fs::OFlags;

use crate::wire::Shown;
use crate::wire::v1::{SECRET_BYTES, Secret};

/// What is read at most: one byte more than there may be.
const READ_BYTES: u64 = 2 * SECRET_BYTES as u64 + 2;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const READABLE_BY_OTHERS: u32 = 0o044;

/// Why a file is not used as a secret.
#[derive(Debug)]
pub enum SecretError {
    Io(io::Error),
    NoFile,
    Form,
    Writable,
    Readable,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NoFile => f.write_str("it is no regular file"),
            Self::Form => f.write_str("it does not hold 64 hexadecimal digits and a newline"),
            Self::Writable => f.write_str("others can write to it"),
            Self::Readable => f.write_str("others can read it"),
        }
    }
}

impl From<io::Error> for SecretError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Returns where a service manager puts the secret of a service (`LoadCredential` of systemd).
pub fn secret_credential() -> Option<PathBuf> {
    env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join("p2pfs-secret"))
}

/// Returns where the secret of a user is, if there is one: in p2pfs below `$XDG_CONFIG_HOME` or,
/// without that, `$HOME/.config`.
pub fn secret_place() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME");
    let config = config.or_else(|| absolute("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join(env!("CARGO_PKG_NAME")).join("secret"))
}

/// Reads a secret. Returns with it whether others can read the file, which is not ours then: those
/// of containers are often so.
///
/// # Errors
/// If the file cannot be read, is of another form, or gives others a say.
pub fn read_secret(path: &Path) -> Result<(Secret, bool), SecretError> {
    // A FIFO is opened at once, too.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(SecretError::NoFile);
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(SecretError::Writable);
    }
    let is_readable = metadata.mode() & READABLE_BY_OTHERS != 0;
    if is_readable && metadata.uid() == rustix::process::geteuid().as_raw() {
        return Err(SecretError::Readable);
    }
    let mut text = Vec::new();
    file.take(READ_BYTES).read_to_end(&mut text)?;
    let secret = Secret::parse(&text).ok_or(SecretError::Form)?;
    Ok((secret, is_readable && !is_credential(path)))
}

/// Returns whether a service manager has put the file where only this service finds it, whatever
/// its permissions say.
fn is_credential(path: &Path) -> bool {
    env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| path.starts_with(folder))
}

/// Makes the file, and the folders on the way to it, for nobody else to read.
///
/// # Errors
/// If that does not work, or something stands there.
pub fn write_secret(path: &Path, secret: &Secret) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(secret.text().as_bytes()).and_then(|()| file.sync_all());
    written.inspect_err(|_| {
        // A part of a secret is of no use, and would be in the way.
        let _ = fs::remove_file(path);
    })
}

/// Returns whether it is no error that the file is not there.
pub fn is_absent(error: &SecretError) -> bool {
    matches!(error, SecretError::Io(error)
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// Returns what to do about a file that is not used.
pub fn secret_remedy(error: &SecretError, path: &Path) -> String {
    let path = Shown(path.to_string_lossy());
    match error {
        SecretError::Writable | SecretError::Readable => format!("`chmod 600 {path}`"),
        SecretError::NoFile | SecretError::Form | SecretError::Io(_) => {
            "`p2pfs secret` makes one in another place".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn secret() -> Secret {
        Secret::new([0x5a; SECRET_BYTES])
    }

    #[test]
    fn what_is_written_is_read_and_is_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/secret");
        write_secret(&path, &secret()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&path), mode(&folder.path().join("a"))], [0o600, 0o700]);
        let (read, is_readable) = read_secret(&path).unwrap();
        assert!(read == secret() && !is_readable);
        let again = write_secret(&path, &Secret::new([1; SECRET_BYTES]));
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(read_secret(&path).unwrap().0 == secret(), "it is not replaced");
    }

    #[test]
    fn a_file_of_which_others_have_a_part_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let refused = || read_secret(&path).unwrap_err().to_string();
        assert!(is_absent(&read_secret(&path).unwrap_err()));
        write_secret(&path, &secret()).unwrap();
        let allow = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o620, 0o602, 0o666] {
            allow(mode);
            assert_eq!(refused(), "others can write to it", "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o444] {
            allow(mode);
            assert_eq!(refused(), "others can read it", "{mode:o}");
        }
        allow(0o400);
        assert!(read_secret(&path).is_ok());
        allow(0o600);
        for other in ["", "secret\n", &"0".repeat(1000), &format!("{} \n", "0".repeat(64))] {
            fs::write(&path, other).unwrap();
            assert_eq!(refused(), "it does not hold 64 hexadecimal digits and a newline");
        }
        let path = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(read_secret(&path).unwrap_err().to_string(), "it is no regular file");
        let folder = read_secret(folder.path()).unwrap_err().to_string();
        assert_eq!(folder, "it is no regular file");
    }
}
