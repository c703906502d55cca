//! Disks that may be cut off, filled up and made read-only, and that lack things: images of
//! file systems behind a loop device, and a small tmpfs, each mounted in a temporary folder.
//!
//! All need root. They are unmounted when dropped, also by a test that fails.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH, for each path that is read: not
/// even the journal is flushed. In Python, because an ioctl is not safe Rust.
const CUTTER: &str = r#"
import fcntl, os, struct, sys
for path in sys.stdin:
    folder = os.open(path.rstrip("\n"), os.O_RDONLY)
    fcntl.ioctl(folder, 0x8004587d, struct.pack("I", 2))
    os.close(folder)
    print("cut", flush=True)
"#;

const IMAGE_MIB: usize = 64;

/// A file system that is mounted somewhere, for as long as this lives.
pub(crate) struct Mount {
    point: PathBuf,
    _folder: TempDir,
    is_mounted: bool,
    source: Vec<String>,
}

impl Mount {
    /// A file system in memory, of this size.
    pub(crate) fn in_memory(size_bytes: usize) -> Result<Self, String> {
        let folder = TempDir::new().unwrap();
        let options = format!("size={size_bytes}");
        Self::new(folder, &["-t", "tmpfs", "-o", &options, "tmpfs"])
    }

    /// An exFAT file system, by FUSE.
    pub(crate) fn exfat() -> Result<Self, String> {
        Self::in_image(&["mkfs.exfat"], &["-t", "exfat-fuse", "-o", "loop"])
    }

    /// An ext4 file system whose time stamps are whole seconds.
    pub(crate) fn small_inodes() -> Result<Self, String> {
        Self::in_image(&["mkfs.ext4", "-q", "-I", "128"], &["-o", "loop"])
    }

    /// A file system in an image, made and mounted so.
    fn in_image(make: &[&str], mount: &[&str]) -> Result<Self, String> {
        let folder = TempDir::new().unwrap();
        let image = folder.path().join("image");
        let size = format!("{IMAGE_MIB}M");
        run(Command::new("truncate").args(["-s", &size]).arg(&image))?;
        run(Command::new(make[0]).args(&make[1..]).arg(&image))?;
        let image = image.into_os_string().into_string().unwrap();
        Self::new(folder, &[mount, &[&*image]].concat())
    }

    fn new(folder: TempDir, source: &[&str]) -> Result<Self, String> {
        let point = folder.path().join("mounted");
        std::fs::create_dir(&point).unwrap();
        let source = source.iter().map(|&argument| argument.to_owned()).collect();
        let mut mount = Self { point, _folder: folder, is_mounted: false, source };
        mount.mount()?;
        Ok(mount)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// From now on nothing can be written to it. Fails while files are open for writing.
    pub(crate) fn make_read_only(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.point))
    }

    fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(&self.source).arg(&self.point))?;
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.point))?;
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // If a process that outlives its test still uses it, it goes when that ends.
        if self.is_mounted && self.unmount().is_err() {
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.point));
        }
    }
}

/// A disk that can lose its power.
pub(crate) struct Disk {
    mount: Mount,
    cutter: Cutter,
}

impl Disk {
    /// An empty one, with power.
    pub(crate) fn new() -> Result<Self, String> {
        let cutter = Cutter::start().map_err(|error| format!("python3: {error}"))?;
        let mount = Mount::in_image(&["mkfs.ext4", "-q", "-J", "size=4"], &["-o", "loop"])?;
        let mut disk = Self { mount, cutter };
        // Whether this kernel can do it at all.
        disk.cut()?;
        disk.restore();
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        self.mount.path()
    }

    /// The power is gone: what was not safe by now never will be, and every call fails.
    pub(crate) fn cut(&mut self) -> Result<(), String> {
        self.cutter.cut(self.mount.path()).map_err(|error| format!("EXT4_IOC_SHUTDOWN: {error}"))
    }

    /// The power is back, and the journal is replayed. No process may use the disk now.
    pub(crate) fn restore(&mut self) {
        self.mount.unmount().unwrap();
        self.mount.mount().unwrap();
    }
}

/// Does the cuts, started once because that takes ten times as long as a cut.
struct Cutter {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Cutter {
    fn start() -> io::Result<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", CUTTER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    fn cut(&mut self, path: &Path) -> io::Result<()> {
        writeln!(self.input, "{}", path.display())?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        if answer == "cut\n" { Ok(()) } else { Err(io::Error::other("refused")) }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => Err(String::from_utf8_lossy(&stderr).trim().to_owned()),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
