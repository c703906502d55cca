//! Other programs that serve a folder, where they are installed. They are run apart from the
//! settings, proxies and keys of their user.

use std::env;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kit::await_until;
use kit::messages::digest_of;

use crate::content::{check_same, empty};
use crate::download::Run;
use crate::{Outcome, Process, Usage, subfolder};

/// A command line.
type Line = Vec<OsString>;

/// A program with its client.
pub struct Kind {
    /// What tables call it.
    pub name: &'static str,
    /// Whether it can serve more than one file.
    pub serves_many: bool,
    /// What has to be installed.
    programs: &'static [&'static str],
    serve: fn(&Served) -> Outcome<Line>,
    fetch: fn(&Served, &Path) -> Line,
}

pub const RSYNC: Kind = Kind {
    name: "rsync",
    serves_many: true,
    programs: &["rsync"],
    serve: serve_rsync,
    fetch: fetch_rsync,
};

/// The same, and it syncs each file, but not the folder.
pub const RSYNC_SYNCED: Kind = Kind { name: "rsync --fsync", fetch: fetch_rsync_synced, ..RSYNC };

/// All that the picture shows.
pub const ALL: [Kind; 7] = [
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
pub struct Other {
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
    pub fn start(
        &'static self,
        home: &Path,
        shared: &Path,
        names: &[String],
        fetched: &Path,
    ) -> Option<Other> {
        if self.programs.iter().any(|program| find(program).is_none()) {
            return None;
        }
        let tried = catch_unwind(|| {
            let other = self.try_start(home, shared, names)?;
            other.checked_run(fetched)?;
            Ok::<_, Box<dyn Error>>(other)
        });
        tried.ok()?.map_err(|error| println!("{error}")).ok()
    }

    fn try_start(&'static self, home: &Path, shared: &Path, names: &[String]) -> Outcome<Other> {
        // A port that is free now: most of them cannot choose one themselves.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (shared, names) = (shared.to_owned(), names.to_vec());
        let home = subfolder(home, &self.name.replace(' ', "-"))?;
        let served = Served { home, shared, names, address };
        let server = start(self.name, (self.serve)(&served)?);
        await_until(&format!("{} listens", self.name), || {
            server.assert_running();
            TcpStream::connect(address).is_ok()
        });
        Ok(Other { kind: self, server, served })
    }
}

impl Other {
    /// One client from its start to its end; compares what came.
    pub fn checked_run(&self, fetched: &Path) -> Outcome<Run> {
        let Served { names, shared, .. } = &self.served;
        let run = self.run(fetched);
        let is_same = check_same(names, shared, fetched);
        empty(fetched)?;
        is_same.map(|()| run)
    }

    fn run(&self, fetched: &Path) -> Run {
        let before = self.sender_cpu();
        let begun = Instant::now();
        let client = format!("client of {}", self.kind.name);
        let ended = start(&client, (self.kind.fetch)(&self.served, fetched)).await_success();
        let elapsed = ended.at.saturating_duration_since(begun);
        let sender = Usage { cpu: self.sender_cpu().saturating_sub(before), ..Usage::default() };
        let receiver = Usage { cpu: ended.cpu_of_all, ..ended.usage };
        Run { elapsed, sender, receiver }
    }

    /// What the server has spent, with the children that served someone.
    fn sender_cpu(&self) -> Duration {
        let pid = self.server.pid();
        // A kernel may be built without this list; then a child that still ends is missed.
        let children = format!("/proc/{pid}/task/{pid}/children");
        let has_children = || fs::read_to_string(&children).is_ok_and(|list| !list.is_empty());
        await_until("all are served", || !has_children());
        self.server.cpu_of_all()
    }
}

/// Starts a program apart from the proxies of its user.
fn start(name: &str, line: Line) -> Process {
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).env_remove("RSYNC_PROXY").env_remove("RSYNC_CONNECT_PROG");
    Process::of(name, &mut command)
}

/// A command line of fixed words and some more.
fn line(words: &str, more: &[&dyn AsRef<OsStr>]) -> Line {
    let words = words.split(' ').map(OsString::from);
    words.chain(more.iter().map(|word| word.as_ref().to_owned())).collect()
}

/// Where a program is, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|path| path.join(program)).find(|path| path.is_file())
}

fn serve_rsync(served: &Served) -> Outcome<Line> {
    let settings = served.home.join("rsyncd.conf");
    let path = served.shared.display();
    // With a chroot or another user it would need to be root.
    let text = format!("use chroot = no\n[shared]\npath = {path}\nread only = yes\n");
    let owner = if is_root() { "uid = 0\ngid = 0\n" } else { "" };
    fs::write(&settings, format!("{owner}{text}"))?;
    let port = format!("--port={}", served.address.port());
    let settings = format!("--config={}", settings.display());
    Ok(line("rsync --daemon --no-detach --address=127.0.0.1", &[&port, &settings]))
}

fn fetch_rsync(served: &Served, fetched: &Path) -> Line {
    let from = format!("rsync://{}/shared/", served.address);
    line("rsync --recursive --whole-file", &[&from, &fetched])
}

fn fetch_rsync_synced(served: &Served, fetched: &Path) -> Line {
    let mut line = fetch_rsync(served, fetched);
    line.push("--fsync".into());
    line
}

fn serve_socat(served: &Served) -> Outcome<Line> {
    let [name] = &served.names[..] else { return Err("socat serves one file".into()) };
    // From the second address to the first, which is the one that may fork.
    let to = format!("TCP-LISTEN:{},bind=127.0.0.1,fork", served.address.port());
    let from = format!("OPEN:{},rdonly", served.shared.join(name).display());
    Ok(line("socat -U -b262144", &[&to, &from]))
}

fn fetch_socat(served: &Served, fetched: &Path) -> Line {
    let script = "socat -u -b262144 \"TCP:$1\" \"CREATE:$2\" && openssl dgst -sha256 \"$2\"";
    let (address, file) = (served.address.to_string(), fetched.join(&served.names[0]));
    line("sh -c", &[&script, &"sh", &address, &file])
}

fn serve_nginx(served: &Served) -> Outcome<Line> {
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
    Ok(line("nginx -c", &[&settings]))
}

fn serve_python(served: &Served) -> Outcome<Line> {
    let port = served.address.port().to_string();
    Ok(line("python3 -m http.server --bind 127.0.0.1 --directory", &[&served.shared, &port]))
}

fn fetch_curl(served: &Served, fetched: &Path) -> Line {
    let words = "curl -q --noproxy * --silent --fail --remote-name-all --output-dir";
    let addresses = served.names.iter().map(|name| format!("http://{}/{name}", served.address));
    line(words, &[&fetched]).into_iter().chain(addresses.map(OsString::from)).collect()
}

/// The list for the client says what SHA-256 each file has to have.
fn serve_for_aria2(served: &Served) -> Outcome<Line> {
    let mut list = String::new();
    for name in &served.names {
        let digest = digest_of(&fs::read(served.shared.join(name))?);
        writeln!(list, "http://{}/{name}\n checksum=sha-256={digest}", served.address)?;
    }
    fs::write(served.home.join("list"), list)?;
    serve_nginx(served)
}

fn fetch_aria2(served: &Served, fetched: &Path) -> Line {
    let words = "aria2c --no-conf --no-proxy=127.0.0.1 --quiet --file-allocation=none --dir";
    line(words, &[&fetched, &"--input-file", &served.home.join("list")])
}

/// One key is the server's and the client's.
fn serve_ssh(served: &Served) -> Outcome<Line> {
    let [key, settings] = ["key", "sshd_config"].map(|name| served.home.join(name));
    start("ssh-keygen", line("ssh-keygen -q -t ed25519 -N", &[&"", &"-f", &key])).await_success();
    let key = key.display();
    let text = format!(
        "ListenAddress {}\nHostKey {key}\nAuthorizedKeysFile {key}.pub\nPidFile none\n\
         StrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
        served.address
    );
    fs::write(&settings, text)?;
    // It wants to be called by its whole path.
    let sshd = find("sshd").ok_or("no sshd")?.into_os_string();
    Ok([vec![sshd], line("-D -e -f", &[&settings])].concat())
}

fn fetch_scp(served: &Served, fetched: &Path) -> Line {
    let words = "scp -s -q -r -F none -o BatchMode=yes -o LogLevel=ERROR -o IdentitiesOnly=yes \
                 -o IdentityAgent=none -o StrictHostKeyChecking=no \
                 -o UserKnownHostsFile=/dev/null -i";
    let (key, port) = (served.home.join("key"), served.address.port().to_string());
    let from = format!("{}:{}/.", served.address.ip(), served.shared.display());
    line(words, &[&key, &"-P", &port, &from, &fetched])
}

const TORRENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/torrent.py");

fn serve_torrent(served: &Served) -> Outcome<Line> {
    let (torrent, address) = (served.home.join("torrent"), served.address.to_string());
    Ok(line("python3", &[&TORRENT, &"seed", &torrent, &address, &served.shared]))
}

fn fetch_torrent(served: &Served, fetched: &Path) -> Line {
    let (torrent, address) = (served.home.join("torrent"), served.address.to_string());
    line("python3", &[&TORRENT, &"fetch", &torrent, &address, &fetched])
}

fn is_root() -> bool {
    kit::is_root().is_ok()
}
