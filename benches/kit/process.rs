//! Processes: started, listened to line by line, and ended when dropped.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, setpriority_process, waitid,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{DEADLINE, Outcome, PART, Usage, usage};

/// How often it is looked how much a process has read.
const LOOKS: Duration = Duration::from_millis(1);

/// Each option of p2pfs may come from its user's environment.
pub(super) fn without_users_options(command: &mut Command) {
    let variables = env::vars_os().map(|(name, _)| name);
    for name in variables.filter(|name| name.as_encoded_bytes().starts_with(b"P2PFS_")) {
        command.env_remove(name);
    }
}

/// A process that runs until this is dropped. All it prints is kept.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Instant,
    pub(crate) status: ExitStatus,
    /// Of its first thread.
    pub(crate) usage: Usage,
    /// Of all of it and of the processes that it waited for, to some 10 ms.
    pub(crate) cpu_of_all: Duration,
}

impl Process {
    /// Starts a command. The name is for messages.
    pub(crate) fn start(name: &str, mut command: Command) -> Outcome<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        without_users_options(&mut command);
        let spawned = command.spawn();
        let mut child = spawned.map_err(|error| format!("{name}: {error}"))?;
        let stdout = Lines::of(child.stdout.take().ok_or("no stdout")?);
        let stderr = Lines::of(child.stderr.take().ok_or("no stderr")?);
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// Starts p2pfs.
    pub(crate) fn p2pfs<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Outcome<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2pfs"));
        command.args(arguments);
        Self::start(name, command)
    }

    /// Starts a part of this bench.
    pub(crate) fn part<A: AsRef<OsStr>>(part: &str, arguments: &[A]) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(PART).arg(part).args(arguments);
        Self::start(part, command)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has cost so far.
    pub(crate) fn usage(&self) -> Outcome<Usage> {
        Usage::of(self.pid()).map_err(|error| format!("{}: {error}", self.name).into())
    }

    /// What it has read so far, from files and sockets.
    pub(crate) fn read_bytes(&self) -> Outcome<u64> {
        let counts = fs::read_to_string(format!("/proc/{}/io", self.pid()))?;
        let read = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
        Ok(read.ok_or("the kernel does not count what a process reads")?.parse()?)
    }

    /// Waits until it has read so much.
    pub(crate) fn await_read(&self, bytes: u64) -> Outcome<()> {
        let begin = Instant::now();
        while self.read_bytes()? < bytes {
            if begin.elapsed() > DEADLINE {
                return Err(self.complaint(&format!("never read {bytes} bytes")));
            }
            thread::sleep(LOOKS);
        }
        Ok(())
    }

    /// Keeps its first thread on one core, if that core may be used.
    pub(crate) fn pin(&self, core: usize) {
        let mut cores = CpuSet::new();
        cores.set(core);
        let _ = sched_setaffinity(Some(Pid::from_child(&self.child)), &cores);
    }

    /// It does nothing until [`Process::resume`].
    pub(crate) fn pause(&self) -> Outcome<()> {
        self.signal(Signal::STOP)
    }

    /// It goes on, from the moment given back.
    pub(crate) fn resume(&self) -> Outcome<Instant> {
        let at = Instant::now();
        self.signal(Signal::CONT)?;
        Ok(at)
    }

    /// Gives it the usual priority, if it was started with another.
    pub(crate) fn set_usual_priority(&self) -> Outcome<()> {
        Ok(setpriority_process(Some(Pid::from_child(&self.child)), 0)?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Outcome<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for the line `listening ADDRESS` on stdout.
    pub(crate) fn await_listening(&self) -> Outcome<SocketAddrV4> {
        let (_, line) = self.await_stdout("listening ")?;
        Ok(line["listening ".len()..].trim().parse()?)
    }

    /// Waits for a line on stdout that begins like this; gives when it came, and the line.
    pub(crate) fn await_stdout(&self, begin: &str) -> Outcome<(Instant, String)> {
        self.await_line(&self.stdout, begin, |line| line.starts_with(begin))
    }

    /// Waits for a line on stderr that contains this; gives when it came, and the line.
    pub(crate) fn await_stderr(&self, part: &str) -> Outcome<(Instant, String)> {
        self.await_line(&self.stderr, part, |line| line.contains(part))
    }

    /// Waits for its end, without polling.
    pub(crate) fn await_end(&mut self) -> Outcome<Ended> {
        // Nobody else reaps it, so its number stays its own until `wait` below.
        let pid = Pid::from_child(&self.child);
        let watchdog = Watchdog::set(pid);
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        let at = Instant::now();
        drop(watchdog);
        let usage = self.usage()?;
        let cpu_of_all = usage::cpu_of_all(self.pid())?;
        let status = self.child.wait()?;
        Ok(Ended { at, status, usage, cpu_of_all })
    }

    /// Waits for its end, which has to be a success.
    pub(crate) fn await_success(&mut self) -> Outcome<Ended> {
        let ended = self.await_end()?;
        match ended.status.success() {
            true => Ok(ended),
            false => Err(self.complaint(&format!("ended with {}", ended.status))),
        }
    }

    fn await_line(
        &self,
        lines: &Lines,
        what: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Outcome<(Instant, String)> {
        lines.wait_for(is_wanted).ok_or_else(|| self.complaint(&format!("never said {what:?}")))
    }

    pub(crate) fn has_ended(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// An error about it, with what it said last.
    pub(crate) fn complaint(&self, what: &str) -> Box<dyn std::error::Error> {
        let said: Vec<_> = self.stderr.lock().lines.iter().rev().take(20).cloned().collect();
        let said: String = said.into_iter().rev().map(|(_, line)| line + "\n").collect();
        format!("{} {what}; its last words:\n{said}", self.name).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a process that does not end in time.
struct Watchdog(Arc<(Mutex<bool>, Condvar)>);

impl Watchdog {
    fn set(pid: Pid) -> Self {
        let is_over = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = Arc::clone(&is_over);
        thread::spawn(move || {
            let (lock, condition) = &*watched;
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = condition.wait_timeout_while(guard, DEADLINE, |is_over| !*is_over);
            // Under the lock: the process is not reaped before the watchdog is called off.
            if waited.is_ok_and(|(is_over, _)| !*is_over) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Self(is_over)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_one();
    }
}

/// The lines that came through a pipe, with the time at which each was read.
struct Lines(Arc<(Mutex<Said>, Condvar)>);

#[derive(Default)]
struct Said {
    lines: Vec<(Instant, String)>,
    is_over: bool,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let said = Arc::new((Mutex::new(Said::default()), Condvar::new()));
        let shared = Arc::clone(&said);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(io::Result::ok) {
                lock(&shared.0).lines.push((Instant::now(), line));
                shared.1.notify_all();
            }
            lock(&shared.0).is_over = true;
            shared.1.notify_all();
        });
        Self(said)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Said> {
        lock(&self.0.0)
    }

    /// The first line that is wanted, once it is there.
    fn wait_for(&self, is_wanted: impl Fn(&str) -> bool) -> Option<(Instant, String)> {
        let begin = Instant::now();
        let mut said = self.lock();
        let mut seen = 0;
        loop {
            let found = said.lines[seen..].iter().find(|(_, line)| is_wanted(line));
            if found.is_some() {
                return found.cloned();
            }
            seen = said.lines.len();
            let left = DEADLINE.checked_sub(begin.elapsed())?;
            if said.is_over {
                return None;
            }
            said = self.0.1.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn lock(said: &Mutex<Said>) -> std::sync::MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
