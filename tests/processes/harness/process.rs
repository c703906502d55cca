//! One run of the real binary.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle, panicking};

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, await_some};

/// A process of ours: what it printed is kept, and it is killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    /// Starts the binary in a folder. The name is for messages of the test.
    pub(crate) fn start<A: AsRef<OsStr>>(name: &str, folder: &Path, arguments: &[A]) -> Self {
        Self::start_under(&[], name, folder, arguments)
    }

    /// Starts it by a launcher: a program with arguments that becomes the binary.
    pub(super) fn start_under<A: AsRef<OsStr>>(
        launcher: &[OsString],
        name: &str,
        folder: &Path,
        arguments: &[A],
    ) -> Self {
        let binary = OsString::from(env!("CARGO_BIN_EXE_p2pfs"));
        let program = [launcher, &[binary]].concat();
        let mut child = Command::new(&program[0])
            .args(&program[1..])
            .args(arguments)
            .current_dir(folder)
            // Nothing is kept between two tests.
            .env_remove("HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Lines::collect(child.stdout.take().unwrap());
        let stderr = Lines::collect(child.stderr.take().unwrap());
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// Waits for the line `listening ADDRESS:PORT`.
    #[track_caller]
    pub(crate) fn await_listening(&self) -> SocketAddrV4 {
        let line = self.stdout.await_first();
        line.as_deref()
            .and_then(|line| line.strip_prefix("listening "))
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("{} does not listen but printed {line:?}", self.name))
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn await_exit(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let status = await_some(&format!("{name} ends"), || self.child.try_wait().unwrap());
        self.stdout.finish();
        self.stderr.finish();
        status
    }

    /// Waits for the end of the process, which has to come with an exit code.
    #[track_caller]
    pub(crate) fn await_exit_code(&mut self) -> i32 {
        let status = self.await_exit();
        status.code().unwrap_or_else(|| panic!("{} died of {:?}", self.name, status.signal()))
    }

    /// Whether the process has ended by now.
    #[allow(dead_code, reason = "not every test that shares the harness needs it")]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Its id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends the process as a crash does: no chance to clean up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What was printed to stdout so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// What was printed to stderr so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// The lines on stderr that are errors of the program, not log lines.
    pub(crate) fn error_lines(&self) -> Vec<String> {
        self.log().into_iter().filter(|line| line.starts_with("p2pfs: ")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if the process has ended and was waited for, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdout.finish();
        self.stderr.finish();
        if panicking() {
            eprintln!("--- stderr of {} ---\n{}", self.name, self.stderr.all().join("\n"));
        }
    }
}

/// The lines that come out of a pipe.
struct Lines {
    shared: Arc<(Mutex<Collected>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Collected {
    lines: Vec<String>,
    is_closed: bool,
}

impl Lines {
    fn collect(pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Collected>, Condvar)>::default();
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let (collected, changed) = &*shared;
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    collected.lock().unwrap().lines.push(line);
                    changed.notify_all();
                }
                collected.lock().unwrap().is_closed = true;
                changed.notify_all();
            }
        });
        Self { shared, reader: Some(reader) }
    }

    fn all(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    /// The first line, as soon as it is there; `None` if there will be none.
    fn await_first(&self) -> Option<String> {
        let (collected, changed) = &*self.shared;
        let waits = |collected: &mut Collected| collected.lines.is_empty() && !collected.is_closed;
        let guard = collected.lock().unwrap();
        let (guard, _) = changed.wait_timeout_while(guard, DEADLINE, waits).unwrap();
        guard.lines.first().cloned()
    }

    /// Reads to the end, which comes when the process has ended.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}
