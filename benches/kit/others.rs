//! Other programs that serve a folder, where they are installed. They are run apart from the
//! settings, proxies and keys of their user.

use std::env;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::content::{check_same, empty};
use super::download::Run;
use super::messages::digest_of;
use super::usage::cpu_of_all;
use super::{DEADLINE, Outcome, Process, Usage, subfolder};

/// A program with its client.
pub(crate) struct Kind {
    /// What tables call it.
    pub(crate) name: &'static str,
    /// Whether it can serve more than one file.
    pub(crate) serves_many: bool,
    /// What has to be installed.
    programs: &'static [&'static str],
    serve: fn(&Served) -> Outcome<Command>,
    fetch: fn(&Served, &Path) -> Command,
}

pub(crate) const RSYNC: Kind = Kind {
    name: "rsync",
    serves_many: true,
    programs: &["rsync"],
    serve: serve_rsync,
    fetch: fetch_rsync,
};

/// The same, and it syncs each file, but not the folder.
pub(crate) const RSYNC_SYNCED: Kind =
    Kind { name: "rsync --fsync", fetch: fetch_rsync_synced, ..RSYNC };

/// All that the picture shows.
pub(crate) const ALL: [Kind; 7] = [
    RSYNC,
    Kind {
        name: "socat and openssl",
        serves_many: false,
        programs: &["socat", "openssl"],
        serve: serve_socat,
        fetch: fetch_socat,
    },
    Kind {
        name: "nginx and curl",
        serves_many: true,
        programs: &["nginx", "curl"],
        serve: serve_nginx,
        fetch: fetch_curl,
    },
    Kind {
        name: "http.server and curl",
        serves_many: true,
        programs: &["python3", "curl"],
        serve: serve_python,
        fetch: fetch_curl,
    },
    Kind {
        name: "nginx and aria2",
        serves_many: true,
        programs: &["nginx", "aria2c"],
        serve: serve_for_aria2,
        fetch: fetch_aria2,
    },
    Kind {
        name: "scp",
        serves_many: true,
        programs: &["sshd", "ssh-keygen", "ssh", "scp"],
        serve: serve_ssh,
        fetch: fetch_scp,
    },
    Kind {
        name: "libtorrent",
        serves_many: true,
        programs: &["python3"],
        serve: serve_torrent,
        fetch: fetch_torrent,
    },
];

/// One that serves.
pub(crate) struct Other {
    kind: &'static Kind,
    server: Process,
    served: Served,
}

/// What one serves, and where. Its settings go into `home`.
struct Served {
    home: PathBuf,
    shared: PathBuf,
    names: Vec<String>,
    address: SocketAddr,
}

impl Kind {
    /// `None` if it is not installed, or does not start or serve, which is told: it is tried
    /// once, as a client may be too old for how it is called.
    pub(crate) fn start(
        &'static self,
        home: &Path,
        shared: &Path,
        names: &[String],
        fetched: &Path,
    ) -> Option<Other> {
        if self.programs.iter().any(|program| find(program).is_none()) {
            return None;
        }
        let started = self.try_start(home, shared, names);
        let tried = started.and_then(|other| other.checked_run(fetched).map(|_| other));
        tried.map_err(|error| println!("{error}")).ok()
    }

    fn try_start(&'static self, home: &Path, shared: &Path, names: &[String]) -> Outcome<Other> {
        let address = free_address()?;
        let (shared, names) = (shared.to_owned(), names.to_vec());
        let home = subfolder(home, &self.name.replace(' ', "-"))?;
        let served = Served { home, shared, names, address };
        let mut server = Process::start(self.name, (self.serve)(&served)?)?;
        await_listener(&mut server, address)?;
        Ok(Other { kind: self, server, served })
    }
}

impl Other {
    /// One client from its start to its end; compares what came.
    pub(crate) fn checked_run(&self, fetched: &Path) -> Outcome<Run> {
        let Served { names, shared, .. } = &self.served;
        let run =
            self.run(fetched).and_then(|run| check_same(names, shared, fetched).map(|()| run));
        empty(fetched)?;
        run
    }

    fn run(&self, fetched: &Path) -> Outcome<Run> {
        let before = self.sender_cpu()?;
        let begun = Instant::now();
        let mut client = Process::start(
            &format!("client of {}", self.kind.name),
            (self.kind.fetch)(&self.served, fetched),
        )?;
        let ended = client.await_success()?;
        let elapsed = ended.at.saturating_duration_since(begun);
        let sender = Usage { cpu: self.sender_cpu()?.saturating_sub(before), ..Usage::default() };
        let receiver = Usage { cpu: ended.cpu_of_all, ..ended.usage };
        Ok(Run { elapsed, sender, receiver })
    }

    /// What the server has spent, with the children that served someone.
    fn sender_cpu(&self) -> Outcome<Duration> {
        let pid = self.server.pid();
        let begin = Instant::now();
        // A kernel may be built without this list; then a child that still ends is missed.
        let children = format!("/proc/{pid}/task/{pid}/children");
        while fs::read_to_string(&children).is_ok_and(|children| !children.is_empty()) {
            if begin.elapsed() > DEADLINE {
                return Err(self.server.complaint("serves for ever"));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(cpu_of_all(pid)?)
    }
}

/// Where a program is, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|path| path.join(program)).find(|path| path.is_file())
}

fn serve_rsync(served: &Served) -> Outcome<Command> {
    let settings = served.home.join("rsyncd.conf");
    let path = served.shared.display();
    // With a chroot or another user it would need to be root.
    let text = format!("use chroot = no\n[shared]\npath = {path}\nread only = yes\n");
    let owner = if is_root() { "uid = 0\ngid = 0\n" } else { "" };
    fs::write(&settings, format!("{owner}{text}"))?;
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
    command.arg(format!("--port={}", served.address.port()));
    command.arg(format!("--config={}", settings.display()));
    Ok(command)
}

fn fetch_rsync(served: &Served, fetched: &Path) -> Command {
    let mut command = Command::new("rsync");
    command.args(["--recursive", "--whole-file"]);
    command.arg(format!("rsync://{}/shared/", served.address)).arg(fetched);
    command.env_remove("RSYNC_PROXY").env_remove("RSYNC_CONNECT_PROG");
    command
}

fn fetch_rsync_synced(served: &Served, fetched: &Path) -> Command {
    let mut command = fetch_rsync(served, fetched);
    command.arg("--fsync");
    command
}

fn serve_socat(served: &Served) -> Outcome<Command> {
    let [name] = &served.names[..] else { return Err("socat serves one file".into()) };
    let mut command = Command::new("socat");
    // From the second address to the first, which is the one that may fork.
    command.args(["-U", "-b262144"]);
    command.arg(format!("TCP-LISTEN:{},bind=127.0.0.1,fork", served.address.port()));
    command.arg(format!("OPEN:{},rdonly", served.shared.join(name).display()));
    Ok(command)
}

fn fetch_socat(served: &Served, fetched: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = "socat -u -b262144 \"TCP:$1\" \"CREATE:$2\" && openssl dgst -sha256 \"$2\"";
    command.args(["-c", script, "sh"]).arg(served.address.to_string());
    command.arg(fetched.join(&served.names[0]));
    command
}

fn serve_nginx(served: &Served) -> Outcome<Command> {
    let (settings, home) = (served.home.join("nginx.conf"), served.home.display());
    let (address, shared) = (served.address, served.shared.display());
    let user = if is_root() { "user root;\n" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|what| format!("{what}_temp_path {home}/nginx-{what};\n"));
    let temporary = temporary.concat();
    let text = format!(
        "{user}daemon off;\nmaster_process off;\npid {home}/nginx.pid;\nerror_log stderr;\n\
         events {{}}\nhttp {{ access_log off; sendfile on; keepalive_requests 1000000;\n\
         {temporary}server {{ listen {address}; root {shared}; }} }}\n"
    );
    fs::write(&settings, text)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(settings);
    Ok(command)
}

fn serve_python(served: &Served) -> Outcome<Command> {
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
    command.arg(&served.shared).arg(served.address.port().to_string());
    Ok(command)
}

fn fetch_curl(served: &Served, fetched: &Path) -> Command {
    let mut command = Command::new("curl");
    command.args(["-q", "--noproxy", "*", "--silent", "--fail", "--remote-name-all"]);
    command.arg("--output-dir").arg(fetched);
    command.args(served.names.iter().map(|name| format!("http://{}/{name}", served.address)));
    command
}

/// The list for the client says what SHA-256 each file has to have.
fn serve_for_aria2(served: &Served) -> Outcome<Command> {
    let mut list = String::new();
    for name in &served.names {
        let digest = digest_of(&fs::read(served.shared.join(name))?);
        writeln!(list, "http://{}/{name}\n checksum=sha-256={digest}", served.address)?;
    }
    fs::write(served.home.join("list"), list)?;
    serve_nginx(served)
}

fn fetch_aria2(served: &Served, fetched: &Path) -> Command {
    let mut command = Command::new("aria2c");
    command.args(["--no-conf", "--no-proxy=127.0.0.1", "--quiet", "--file-allocation=none"]);
    command.arg("--dir").arg(fetched).arg("--input-file").arg(served.home.join("list"));
    command
}

/// One key is the server's and the client's.
fn serve_ssh(served: &Served) -> Outcome<Command> {
    let [key, settings] = ["key", "sshd_config"].map(|name| served.home.join(name));
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    Process::start("ssh-keygen", keygen)?.await_success()?;
    let key = key.display();
    let text = format!(
        "ListenAddress {}\nHostKey {key}\nAuthorizedKeysFile {key}.pub\nPidFile none\n\
         StrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
        served.address
    );
    fs::write(&settings, text)?;
    // It wants to be called by its whole path.
    let mut command = Command::new(find("sshd").ok_or("no sshd")?);
    command.args(["-D", "-e", "-f"]).arg(settings);
    Ok(command)
}

fn fetch_scp(served: &Served, fetched: &Path) -> Command {
    let mut command = Command::new("scp");
    command.args(["-s", "-q", "-r", "-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]);
    command.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
    command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    command.arg("-i").arg(served.home.join("key"));
    command.arg("-P").arg(served.address.port().to_string());
    command.arg(format!("{}:{}/.", served.address.ip(), served.shared.display())).arg(fetched);
    command
}

const TORRENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/kit/torrent.py");

fn serve_torrent(served: &Served) -> Outcome<Command> {
    let mut command = Command::new("python3");
    command.args([TORRENT, "seed"]).arg(served.home.join("torrent"));
    command.arg(served.address.to_string()).arg(&served.shared);
    Ok(command)
}

fn fetch_torrent(served: &Served, fetched: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args([TORRENT, "fetch"]).arg(served.home.join("torrent"));
    command.arg(served.address.to_string()).arg(fetched);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A port that is free now; programs that cannot choose one themselves need it.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn await_listener(server: &mut Process, address: SocketAddr) -> Outcome<()> {
    let begin = Instant::now();
    while TcpStream::connect(address).is_err() {
        if server.has_ended()? || begin.elapsed() > DEADLINE {
            return Err(server.complaint("does not listen"));
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}
