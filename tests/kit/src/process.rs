use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, panicking};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::{DEADLINE, Usage};

/// A process: what it prints is kept, with the time of each line, and it is killed when dropped.
pub struct Process {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    stdout: Lines,
    stderr: Lines,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub at: Instant,
    pub status: ExitStatus,
    /// Of its first thread.
    pub usage: Usage,
    /// Of all of it and of the processes that it waited for, to some 10 ms.
    pub cpu_of_all: Duration,
}

impl Process {
    /// Starts a command. The name is for messages of the test.
    pub fn of(name: &str, command: &mut Command) -> Self {
        Self::with_streams(name, command, [None, None])
    }

    /// Starts a command whose stdout or stderr may go elsewhere.
    pub(crate) fn with_streams(
        name: &str,
        command: &mut Command,
        [stdout, stderr]: [Option<Stdio>; 2],
    ) -> Self {
        command.stdin(Stdio::null()).stdout(stdout.unwrap_or_else(Stdio::piped));
        let spawned = command.stderr(stderr.unwrap_or_else(Stdio::piped)).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdout = Lines::of(child.stdout.take());
        let stderr = Lines::of(child.stderr.take());
        let pid = Pid::from_child(&child);
        Self { name: name.to_owned(), pid, child: Mutex::new(child), stdout, stderr }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the line `listening ADDRESS:PORT`.
    #[track_caller]
    pub fn await_listening(&self) -> SocketAddrV4 {
        let (_, line) = self.await_stdout("listening ");
        line["listening ".len()..].trim().parse().unwrap()
    }

    /// Waits for a line on stdout that begins like this; returns when it came, and the line.
    #[track_caller]
    pub fn await_stdout(&self, begin: &str) -> (Instant, String) {
        let found = self.stdout.wait_for(|line| line.starts_with(begin));
        found.unwrap_or_else(|| self.fail(&format!("never printed {begin:?}")))
    }

    /// Waits for a line on stderr that contains this; returns when it came, and the line.
    #[track_caller]
    pub fn await_log(&self, part: &str) -> (Instant, String) {
        let found = self.stderr.wait_for(|line| line.contains(part));
        found.unwrap_or_else(|| self.fail(&format!("never said {part:?}")))
    }

    /// Waits for its end, without polling.
    #[track_caller]
    pub fn await_end(&self) -> Ended {
        // It is reaped below, under a lock: until then its number is its own.
        let pidfd = pidfd_open(self.pid, PidfdFlags::empty()).unwrap();
        let timeout = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).unwrap();
        if ended == 0 {
            self.fail("never ended")
        }
        let at = Instant::now();
        let (usage, cpu_of_all) = (self.usage(), self.cpu_of_all());
        let status = self.child().wait().unwrap();
        self.stdout.finish();
        self.stderr.finish();
        Ended { at, status, usage, cpu_of_all }
    }

    /// Waits for its end, which has to be a success.
    #[track_caller]
    pub fn await_success(&self) -> Ended {
        let ended = self.await_end();
        if !ended.status.success() {
            self.fail(&format!("ended with {}", ended.status))
        }
        ended
    }

    /// Waits for its end. It may have been waited for before.
    #[track_caller]
    pub fn await_exit(&self) -> ExitStatus {
        let ended = self.child().try_wait().unwrap();
        if ended.is_some() {
            self.stdout.finish();
            self.stderr.finish();
        }
        ended.unwrap_or_else(|| self.await_end().status)
    }

    /// Waits for its end, which has to come with an exit code.
    #[track_caller]
    pub fn await_exit_code(&self) -> i32 {
        let status = self.await_exit();
        status.code().unwrap_or_else(|| panic!("{} died of {:?}", self.name, status.signal()))
    }

    pub fn has_ended(&self) -> bool {
        self.child().try_wait().unwrap().is_some()
    }

    #[track_caller]
    pub fn assert_running(&self) {
        let ended = self.child().try_wait().unwrap();
        assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// It does nothing until [`Process::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on, from the moment that is returned.
    pub fn resume(&self) -> Instant {
        let at = Instant::now();
        self.signal(Signal::CONT);
        at
    }

    /// Ends the process as a crash does: no chance to clean up.
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it in order.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::TERM);
        assert_eq!(self.await_exit_code(), 143, "{}", self.said());
    }

    /// Returns what was printed to stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Returns what was printed to stderr so far.
    pub fn log(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Returns the same in one text.
    pub fn said(&self) -> String {
        self.log().join("\n")
    }

    /// Returns how many lines on stderr contain this.
    pub fn count_in_log(&self, part: &str) -> usize {
        self.log().iter().filter(|line| line.contains(part)).count()
    }

    pub fn has_said(&self, part: &str) -> bool {
        self.count_in_log(part) > 0
    }

    /// Returns the lines on stderr that are errors of the program, not log lines.
    pub fn error_lines(&self) -> Vec<String> {
        self.log().into_iter().filter(|line| line.starts_with("p2pfs: ")).collect()
    }

    /// Waits for the end with this code; nothing may have gone to stdout.
    #[track_caller]
    pub fn ends_with(&self, code: i32) {
        assert_eq!(self.await_exit_code(), code, "{}", self.said());
        assert_eq!(self.stdout(), [""; 0], "data for programs");
    }

    /// Returns the one line that says why the process failed, which has to be the last.
    #[track_caller]
    pub fn complaint(&self) -> String {
        let lines = self.error_lines();
        assert_eq!(lines.len(), 1, "{}", self.said());
        assert_eq!(self.log().last(), lines.first(), "the complaint comes last");
        lines[0].clone()
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("{} {what}; it said:\n{}", self.name, self.said())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        {
            let mut child = self.child();
            // Both fail if it has ended and was waited for, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.stdout.finish();
        self.stderr.finish();
        if panicking() {
            eprintln!("--- stderr of {} ---\n{}", self.name, self.said());
        }
    }
}

/// The lines that come out of a pipe, with the time at which each was read.
struct Lines(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Default)]
struct Collected {
    lines: Vec<(Instant, String)>,
    is_closed: bool,
}

impl Lines {
    /// Without a pipe there are none.
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let shared = Arc::<(Mutex<Collected>, Condvar)>::default();
        let lines = Self(Arc::clone(&shared));
        let Some(pipe) = pipe else {
            lines.lock().is_closed = true;
            return lines;
        };
        thread::spawn(move || {
            let (collected, changed) = &*shared;
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                collected.lock().unwrap().lines.push((Instant::now(), line));
                changed.notify_all();
            }
            collected.lock().unwrap().is_closed = true;
            changed.notify_all();
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<String> {
        self.lock().lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// Returns the first line that is wanted, once it is there; `None` if the pipe was closed
    /// before, or when [`DEADLINE`] has passed.
    fn wait_for(&self, is_wanted: impl Fn(&str) -> bool) -> Option<(Instant, String)> {
        let mut found = None;
        let mut seen = 0;
        let waits = |collected: &mut Collected| {
            found = collected.lines[seen..].iter().find(|(_, line)| is_wanted(line)).cloned();
            seen = collected.lines.len();
            found.is_none() && !collected.is_closed
        };
        drop(self.0.1.wait_timeout_while(self.lock(), DEADLINE, waits));
        found
    }

    /// Waits until the pipe is closed, as it is when the process has ended.
    fn finish(&self) {
        let waits = |collected: &mut Collected| !collected.is_closed;
        let waited = self.0.1.wait_timeout_while(self.lock(), DEADLINE, waits);
        let is_late = waited.is_ok_and(|(_, waited)| waited.timed_out());
        assert!(!is_late || panicking(), "the pipe of a process that ended is still open");
    }
}
