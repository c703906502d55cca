//! Other programs, where they are installed.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::download::Run;
use super::{DEADLINE, Outcome, Process, Usage};

/// Where a program is, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|path| path.join(program)).find(|path| path.is_file())
}

/// One that was started. What is installed but does not start is told, and done without.
pub(crate) fn started<T>(program: Outcome<Option<T>>) -> Option<T> {
    program.unwrap_or_else(|error| {
        println!("{error}");
        None
    })
}

/// An rsync daemon that serves a folder.
pub(crate) struct Rsync {
    _daemon: Process,
    url: String,
}

impl Rsync {
    /// `None` if it is not installed. Its settings go into `home`.
    pub(crate) fn start(home: &Path, shared: &Path) -> Outcome<Option<Self>> {
        let Some(program) = find("rsync") else { return Ok(None) };
        let address = free_address()?;
        let settings = home.join("rsyncd.conf");
        let path = shared.display();
        // With a chroot or another user it would need to be root.
        let text = format!("use chroot = no\n[shared]\npath = {path}\nread only = yes\n");
        let owner = match rustix::process::geteuid().is_root() {
            true => "uid = 0\ngid = 0\n",
            false => "",
        };
        fs::write(&settings, format!("{owner}{text}"))?;
        let mut command = Command::new(program);
        command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
        command.arg(format!("--port={}", address.port()));
        command.arg(format!("--config={}", settings.display()));
        let mut daemon = Process::start("rsync daemon", command)?;
        await_listener(&mut daemon, address)?;
        Ok(Some(Self { _daemon: daemon, url: format!("rsync://{address}/shared/") }))
    }

    /// One client from its start to its end. The CPU time is that of the client alone.
    pub(crate) fn fetch(&self, fetched: &Path) -> Outcome<Run> {
        let mut command = Command::new("rsync");
        command.args(["--recursive", "--whole-file", &self.url]).arg(fetched);
        client("rsync", command)
    }
}

/// python3's http.server, or nginx, which serves a folder.
pub(crate) struct Http {
    _server: Process,
    address: SocketAddr,
}

impl Http {
    /// `None` if python3 or curl is not installed.
    pub(crate) fn python(shared: &Path) -> Outcome<Option<Self>> {
        let (Some(program), Some(_)) = (find("python3"), find("curl")) else { return Ok(None) };
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
        command.arg(shared).arg(address.port().to_string());
        let mut server = Process::start("python3", command)?;
        await_listener(&mut server, address)?;
        Ok(Some(Self { _server: server, address }))
    }

    /// `None` if nginx or curl is not installed. Its settings go into `home`.
    pub(crate) fn nginx(home: &Path, shared: &Path) -> Outcome<Option<Self>> {
        let (Some(program), Some(_)) = (find("nginx"), find("curl")) else { return Ok(None) };
        let address = free_address()?;
        let (settings, home, shared) = (home.join("nginx.conf"), home.display(), shared.display());
        let user = match rustix::process::geteuid().is_root() {
            true => "user root;\n",
            false => "",
        };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|what| format!("{what}_temp_path {home}/nginx-{what};\n"));
        let temporary = temporary.concat();
        let text = format!(
            "{user}daemon off;\nmaster_process off;\npid {home}/nginx.pid;\nerror_log stderr;\n\
             events {{}}\nhttp {{ access_log off; sendfile on; keepalive_requests 1000000;\n\
             {temporary}server {{ listen {address}; root {shared}; }} }}\n"
        );
        fs::write(&settings, text)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&settings);
        let mut server = Process::start("nginx", command)?;
        await_listener(&mut server, address)?;
        Ok(Some(Self { _server: server, address }))
    }

    /// One curl for all the files, from its start to its end. The CPU time is that of the
    /// client alone.
    pub(crate) fn fetch(&self, names: &[String], fetched: &Path) -> Outcome<Run> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--fail", "--remote-name-all", "--output-dir"]).arg(fetched);
        command.args(names.iter().map(|name| format!("http://{}/{name}", self.address)));
        client("curl", command)
    }
}

fn client(name: &str, command: Command) -> Outcome<Run> {
    let begun = Instant::now();
    let ended = Process::start(name, command)?.await_success()?;
    let elapsed = ended.at.saturating_duration_since(begun);
    let receiver = Usage { cpu: ended.cpu_of_all, ..ended.usage };
    Ok(Run { elapsed, sender: Usage::default(), receiver })
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
