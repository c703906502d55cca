//! How long a download takes, from the start of the program to its end, beside
//! the least that a blocking program could do on the same machine.
//!
//! ```text
//! cargo bench --bench transfer [-- [--quick] [--json FILE]]
//! ```
//!
//! The real binary runs as registry, uploader and downloader on the loopback. The
//! floor is this program itself, run again as a sender and a receiver: one
//! connection, read, SHA-256, write. It is measured without and with an fsync for
//! each file; p2pfs does one for each file before it says that the file is there.
//! Every run measures all of them, in changing order. Whatever arrived is compared
//! byte for byte, outside the measured time.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The first argument of this program when it is the floor's sender or receiver.
const FLOOR_SENDER: &str = "floor-sender";
const FLOOR_RECEIVER: &str = "floor-receiver";
/// What the floor reads and writes in one call.
const FLOOR_BUFFER_BYTES: usize = 256 * 1024;
const START_TIMEOUT: Duration = Duration::from_secs(30);
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [FLOOR_SENDER, folder] => floor_sender(Path::new(folder)),
        [FLOOR_RECEIVER, address, folder, sync] => {
            floor_receiver(address, Path::new(folder), *sync == "sync")
        }
        _ => Settings::parse(&words).and_then(|settings| bench(&settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("transfer: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Settings {
    is_quick: bool,
    json: Option<PathBuf>,
}

/// A set of files of one size.
struct Case {
    name: String,
    files: usize,
    file_bytes: usize,
}

/// What is measured: three ways to move the same files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    P2pfs,
    Floor,
    FloorSynced,
}

impl Settings {
    /// Flags that are not known are ignored: `cargo bench` passes some of its own.
    fn parse(words: &[&str]) -> Outcome<Self> {
        let json = match words.iter().position(|word| *word == "--json") {
            Some(at) => Some(PathBuf::from(words.get(at + 1).ok_or("--json needs a file")?)),
            None => None,
        };
        Ok(Self { is_quick: words.contains(&"--quick"), json })
    }

    fn runs(&self) -> usize {
        if self.is_quick { 2 } else { 5 }
    }

    fn cases(&self) -> [Case; 2] {
        let (large_mib, small_files) = if self.is_quick { (32, 50) } else { (256, 200) };
        [
            Case {
                name: format!("1 file of {large_mib} MiB"),
                files: 1,
                file_bytes: large_mib * 1024 * 1024,
            },
            Case {
                name: format!("{small_files} files of 16 KiB"),
                files: small_files,
                file_bytes: 16 * 1024,
            },
        ]
    }
}

fn bench(settings: &Settings) -> Outcome<()> {
    println!(
        "{:<22} {:<14} {:>3} {:>10} {:>10} {:>10} {:>9}",
        "", "", "n", "median", "least", "most", "MB/s"
    );
    let mut results = Vec::new();
    for case in settings.cases() {
        let measured = measure(&case, settings.runs())?;
        show(&case, &measured);
        results.push(as_json(&case, &measured));
    }
    println!("MB/s: 10^6 bytes a second, at the median");
    println!("floor: one blocking connection; read, SHA-256, write");
    if let Some(path) = &settings.json {
        let all = json!({ "version": 1, "quick": settings.is_quick, "results": results });
        fs::write(path, format!("{all:#}\n"))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Seconds of each run, all ways in the same order of runs.
struct Measured {
    p2pfs_s: Vec<f64>,
    floor_s: Vec<f64>,
    floor_synced_s: Vec<f64>,
}

fn measure(case: &Case, runs: usize) -> Outcome<Measured> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::set(case, folder.path())?;
    let mut measured =
        Measured { p2pfs_s: Vec::new(), floor_s: Vec::new(), floor_synced_s: Vec::new() };
    let mut order = [Way::P2pfs, Way::Floor, Way::FloorSynced];
    // The first round is not counted: it warms the caches and the uploader's digests.
    for run in 0..=runs {
        for way in order {
            let elapsed_s = stage.run(way)?.as_secs_f64();
            if run > 0 {
                measured.of(way).push(elapsed_s);
            }
        }
        order.rotate_left(1);
    }
    Ok(measured)
}

/// The programs that serve the files of one case, for all runs.
struct Stage<'a> {
    case: &'a Case,
    folder: &'a Path,
    registry: Process,
    offers: String,
    _uploader: Process,
    floor_sender: Process,
}

impl<'a> Stage<'a> {
    fn set(case: &'a Case, folder: &'a Path) -> Outcome<Self> {
        let shared = folder.join("shared");
        fs::create_dir(&shared)?;
        let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
        for name in case.names() {
            fs::write(shared.join(name), noise.bytes(case.file_bytes))?;
        }
        // The port is free again for the peers, which share it.
        let offer_port = UdpSocket::bind("0.0.0.0:0")?.local_addr()?.port();
        let offers = format!("127.255.255.255:{offer_port}");

        let mut command = Command::new(env!("CARGO_BIN_EXE_p2pfs"));
        command.args(["registry", "--listen", "127.0.0.1:0"]);
        let registry = Process::listening("registry", command, folder)?;
        let command = peer(1, &registry, &offers, &shared);
        let uploader = Process::listening("uploader", command, folder)?;
        let mut command = Command::new(env::current_exe()?);
        command.arg(FLOOR_SENDER).arg(&shared);
        let floor_sender = Process::listening("floor", command, folder)?;
        Ok(Self { case, folder, registry, offers, _uploader: uploader, floor_sender })
    }

    /// Moves all the files once, and compares what arrived.
    fn run(&self, way: Way) -> Outcome<Duration> {
        let fetched = self.folder.join("fetched");
        fs::create_dir(&fetched)?;
        let mut command = match way {
            Way::P2pfs => {
                let mut command = peer(2, &self.registry, &self.offers, &fetched);
                command.arg("--exit-when-done");
                for name in self.case.names() {
                    command.args(["--want", &name]);
                }
                command
            }
            Way::Floor | Way::FloorSynced => {
                let sync = if way == Way::FloorSynced { "sync" } else { "no-sync" };
                let mut command = Command::new(env::current_exe()?);
                command.args([FLOOR_RECEIVER, &self.floor_sender.address.to_string()]);
                command.arg(&fetched).arg(sync);
                command
            }
        };
        let log = File::create(self.folder.join("downloader.log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);

        let began = Instant::now();
        let status = wait(command.spawn()?, TRANSFER_TIMEOUT)?;
        let elapsed = began.elapsed();

        if !status.success() {
            let log = fs::read_to_string(self.folder.join("downloader.log"))?;
            return Err(format!("{way:?} ended with {status}:\n{log}").into());
        }
        for name in self.case.names() {
            let (theirs, ours) = (self.folder.join("shared").join(&name), fetched.join(&name));
            if !is_same(&theirs, &ours).map_err(|error| format!("{name}: {error}"))? {
                return Err(format!("{way:?}: {name} differs from its original").into());
            }
        }
        fs::remove_dir_all(&fetched)?;
        Ok(elapsed)
    }
}

fn peer(id: u32, registry: &Process, offers: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pfs"));
    command.args(["peer", "--id", &id.to_string(), "--port", "0", "--offer-interval", "50ms"]);
    command.args(["--registry", &registry.address.to_string(), "--broadcast", offers]);
    command.arg("--dir").arg(folder).env_remove("HOME").env_remove("XDG_CACHE_HOME");
    command
}

impl Case {
    fn names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.files).map(|number| format!("file-{number:05}"))
    }

    fn bytes(&self) -> usize {
        self.files * self.file_bytes
    }
}

impl Measured {
    fn of(&mut self, way: Way) -> &mut Vec<f64> {
        match way {
            Way::P2pfs => &mut self.p2pfs_s,
            Way::Floor => &mut self.floor_s,
            Way::FloorSynced => &mut self.floor_synced_s,
        }
    }

    /// How many times as long as a floor p2pfs took, run by run.
    fn ratios(&self, floor_s: &[f64]) -> Spread {
        let pairs = self.p2pfs_s.iter().zip(floor_s);
        Spread::of(pairs.map(|(ours, floor)| ours / floor).collect())
    }
}

struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            values[middle]
        };
        Self { median, least: values[0], most: values[values.len() - 1] }
    }
}

fn show(case: &Case, measured: &Measured) {
    let mut name = case.name.as_str();
    for (way, runs_s) in [
        ("p2pfs", &measured.p2pfs_s),
        ("floor", &measured.floor_s),
        ("floor + fsync", &measured.floor_synced_s),
    ] {
        let Spread { median, least, most } = Spread::of(runs_s.clone());
        let (runs, rate) = (runs_s.len(), case.bytes() as f64 / median / 1e6);
        print!("{name:<22} {way:<14} {runs:>3} {median:>8.3} s {least:>8.3} s {most:>8.3} s");
        println!(" {rate:>9.1}");
        name = "";
    }
    for (way, floor_s) in
        [("floor", &measured.floor_s), ("floor + fsync", &measured.floor_synced_s)]
    {
        let Spread { median, least, most } = measured.ratios(floor_s);
        print!("{name:<22} p2pfs / {way}: {median:.2}");
        println!(" (median of the ratios of the runs, {least:.2} to {most:.2})");
    }
}

fn as_json(case: &Case, measured: &Measured) -> Value {
    let way = |runs_s: &[f64]| {
        let Spread { median, least, most } = Spread::of(runs_s.to_vec());
        json!({
            "runs_s": runs_s, "n": runs_s.len(),
            "median_s": median, "least_s": least, "most_s": most,
            "median_mb_per_s": case.bytes() as f64 / median / 1e6,
        })
    };
    json!({
        "case": case.name, "files": case.files, "file_bytes": case.file_bytes,
        "p2pfs": way(&measured.p2pfs_s),
        "floor": way(&measured.floor_s),
        "floor_synced": way(&measured.floor_synced_s),
        "ratio_to_floor_median": measured.ratios(&measured.floor_s).median,
        "ratio_to_floor_synced_median": measured.ratios(&measured.floor_synced_s).median,
    })
}

/// A program that runs until this is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts it, and waits until it says where it listens.
    fn listening(name: &str, mut command: Command, folder: &Path) -> Outcome<Self> {
        let log = folder.join(format!("{name}.log"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = command.spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process = Self { child, address };

        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line).map(|_| line);
            // The receiver may have given up by now.
            let _ = sender.send(read);
        });
        let line = line.recv_timeout(START_TIMEOUT).map_err(|_| format!("{name}: no start"))??;
        let Some(address) = line.trim_end().strip_prefix("listening ") else {
            let log = fs::read_to_string(&log)?;
            return Err(format!("{name} does not listen: {line}{log}").into());
        };
        process.address = address.parse()?;
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits without polling, so that the end is seen when it comes.
fn wait(mut child: Child, limit: Duration) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    let (ended, is_over) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if is_over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let status = child.wait();
    drop(ended);
    watchdog.join().map_err(|_| io::Error::other("the watchdog panicked"))?;
    status
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 1024 * 1024], vec![0; 1024 * 1024]);
    loop {
        let len = one.read(&mut a)?;
        if len == 0 {
            return Ok(true);
        }
        other.read_exact(&mut b[..len])?;
        if a[..len] != b[..len] {
            return Ok(false);
        }
    }
}

/// Bytes without a pattern, the same each time (xorshift).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
        bytes
    }
}

/// Sends every file of the folder to whoever connects: for each its name's length
/// and name, its length, its digest, known beforehand, and its data.
fn floor_sender(folder: &Path) -> Outcome<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let content = fs::read(entry.path())?;
        let mut head = Vec::new();
        let name = entry.file_name().into_encoded_bytes();
        head.push(u8::try_from(name.len())?);
        head.extend_from_slice(&name);
        head.extend_from_slice(&(content.len() as u64).to_be_bytes());
        head.extend_from_slice(&Sha256::digest(&content));
        files.push((entry.path(), head));
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    let mut buffer = vec![0; FLOOR_BUFFER_BYTES];
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        for (path, head) in &files {
            stream.write_all(head)?;
            let mut file = File::open(path)?;
            loop {
                let len = file.read(&mut buffer)?;
                if len == 0 {
                    break;
                }
                stream.write_all(&buffer[..len])?;
            }
        }
    }
}

fn floor_receiver(address: &str, folder: &Path, is_synced: bool) -> Outcome<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut buffer = vec![0; FLOOR_BUFFER_BYTES];
    let mut name_len = [0];
    loop {
        match stream.read_exact(&mut name_len) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            outcome => outcome?,
        }
        let mut name = vec![0; usize::from(name_len[0])];
        stream.read_exact(&mut name)?;
        let (mut left, mut digest) = ([0; 8], [0; 32]);
        stream.read_exact(&mut left)?;
        stream.read_exact(&mut digest)?;
        let mut left = u64::from_be_bytes(left);
        let mut file = File::create_new(folder.join(std::str::from_utf8(&name)?))?;
        let mut hash = Sha256::new();
        while left > 0 {
            let wanted = usize::try_from(left)?.min(buffer.len());
            let len = stream.read(&mut buffer[..wanted])?;
            if len == 0 {
                return Err("the sender closed in the middle of a file".into());
            }
            hash.update(&buffer[..len]);
            file.write_all(&buffer[..len])?;
            left -= len as u64;
        }
        if hash.finalize() != digest {
            return Err("the digest is wrong".into());
        }
        if is_synced {
            file.sync_all()?;
        }
    }
}
