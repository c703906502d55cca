//! Processes under strace, which counts their system calls, and makes one of them fail
//! or the last one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kit::{Missing, Need, tools};

/// A system call of a process: the n-th of this name since its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) nth: usize,
}

/// What happens to a process at one of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call is not made and gives this error.
    Error(&'static str),
    /// The call is not made, and the process dies of `kill -9`.
    Kill,
}

/// Calls that cannot fail as they are made here, or whose failure (no memory) Rust answers with the end of the program.
const LEFT_OUT: [&str; 14] = [
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "getpid",
    "geteuid",
    "prlimit64",
    "exit_group",
    "rt_sigprocmask",
    "rt_sigreturn",
    "restart_syscall",
    "sigaltstack",
];

/// The errors that fit a call.
pub(crate) fn errors_for(call: &str) -> &'static [&'static str] {
    match call {
        "open" | "openat" => &["EIO", "ENOSPC", "EINTR", "EAGAIN", "EMFILE"],
        "write" | "pwrite64" => &["EIO", "ENOSPC", "EINTR", "EAGAIN"],
        "fsync" | "flock" => &["EIO", "ENOSPC", "EINTR"],
        "renameat2" => &["EIO", "ENOSPC"],
        "fstatfs" | "getdents64" => &["EIO", "EINTR"],
        "read" | "pread64" | "preadv2" | "recvfrom" | "sendto" | "sendfile" => {
            &["EIO", "EINTR", "EAGAIN"]
        }
        "accept4" => &["EIO", "EINTR", "EAGAIN", "EMFILE"],
        "connect" => &["EIO", "EINTR", "EAGAIN"],
        "epoll_wait" | "poll" | "ppoll" => &["EIO", "EINTR"],
        "socket" | "socketpair" | "epoll_create1" | "fcntl" => &["EIO", "EMFILE"],
        "epoll_ctl" => &["EIO", "ENOSPC"],
        _ => &["EIO"],
    }
}

/// strace, and a kernel that lets it inject.
pub(crate) static STRACE: Need = Need::new(can_inject);

pub(crate) fn can_inject() -> Result<(), Missing> {
    tools(&["strace"])?;
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=read"]);
    command.args(["-e", "inject=read:error=EIO:when=1+", "head", "-c", "1", "/dev/zero"]);
    match command.stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if !status.success() => Ok(()),
        outcome => Err(Missing::Kernel("errors injected by strace", format!("{outcome:?}"))),
    }
}

/// A launcher that writes down every call.
pub(crate) fn tracing(log: &Path) -> Vec<OsString> {
    launcher(log, &[])
}

/// A launcher that lets a fault happen at a call, and writes down the calls of that name.
pub(crate) fn injecting(log: &Path, call: &Call, fault: Fault) -> Vec<OsString> {
    let Call { name, nth } = call;
    // The filter that spares all other calls the trip makes strace 6.1 forget the signal.
    let (what, filter) = match fault {
        Fault::Error(error) => (format!("error={error}"), Some("--seccomp-bpf")),
        Fault::Kill => ("signal=KILL".to_owned(), None),
    };
    let (trace, inject) = (format!("trace={name}"), format!("inject={name}:{what}:when={nth}"));
    let options = ["-e", &trace, "-e", &inject];
    launcher(log, &filter.into_iter().chain(options).collect::<Vec<_>>())
}

/// A launcher that sends SIGTERM at a call, which is made.
pub(crate) fn terminating(log: &Path, call: &Call) -> Vec<OsString> {
    let Call { name, nth } = call;
    launcher(log, &["-e", &format!("inject={name}:signal=TERM:when={nth}")])
}

/// A launcher that lets every call of a name fail, and writes those down and the sleeps.
pub(crate) fn failing_always(log: &Path, name: &str, error: &str) -> Vec<OsString> {
    let trace = format!("trace={name},?epoll_wait,?epoll_pwait");
    let inject = format!("inject={name}:error={error}:when=1+");
    launcher(log, &["--seccomp-bpf", "-e", &trace, "-e", &inject])
}

/// With `-D` it is strace that is the grandchild: the process is ours to wait for and to
/// kill, and its exit code its own.
fn launcher(log: &Path, options: &[&str]) -> Vec<OsString> {
    let usual = ["strace", "-D", "-f", "-qq", "-y", "-s", "80"];
    let mut launcher: Vec<OsString> = usual.iter().chain(options).map(OsString::from).collect();
    launcher.extend(["-o".into(), log.into()]);
    launcher
}

/// The calls that a process made of its own, but for those that are left out. The loader
/// and the runtime make calls before, which are not the program's.
pub(crate) fn calls_in(log: &Path) -> Vec<Call> {
    let text = fs::read_to_string(log).unwrap();
    let names: Vec<_> = text.lines().filter_map(name_of).collect();
    let is_runtime = |line: &str| line.contains("rt_sigaction(SIGBUS, {");
    let begin = text.lines().position(is_runtime).expect("the runtime watches for overflows");
    let mut counts = BTreeMap::<_, usize>::new();
    let mut calls = Vec::new();
    for (line, name) in names.into_iter().enumerate() {
        let nth = counts.entry(name).and_modify(|count| *count += 1).or_insert(1);
        if line > begin && !name.is_empty() && !LEFT_OUT.contains(&name) {
            calls.push(Call { name: name.to_owned(), nth: *nth });
        }
    }
    calls
}

/// The line of the call that failed on purpose.
pub(crate) fn injected_in(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().find(|line| line.contains("(INJECTED)")).map(str::to_owned)
}

/// The name in a line such as `123 openat(...) = 3`; none in a line about a signal.
fn name_of(line: &str) -> Option<&str> {
    let rest = line.split_once(' ')?.1.trim_start();
    match rest.starts_with(['-', '+']) {
        true => Some(""),
        false => Some(rest.split_once('(').map_or("", |(name, _)| name)),
    }
}
