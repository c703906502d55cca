use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use rustix::process::Signal;

use crate::Process;

/// Returns the path of the program under test: cargo builds it beside the tests and benches.
pub fn program() -> PathBuf {
    let test = env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("p2pfs")
}

/// A command line of the program that is to be started.
///
/// The process gets no option from the environment of the tests, and keeps nothing for its user
/// beyond its folder.
pub struct Launch {
    program: PathBuf,
    launcher: Vec<OsString>,
    arguments: Vec<OsString>,
    folder: PathBuf,
    variables: Vec<(OsString, OsString)>,
    has_environment: bool,
    streams: [Option<Stdio>; 2],
}

/// What a process wrote until its end.
#[derive(Debug)]
pub struct Output {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Launch {
    /// Runs in this folder.
    pub fn new<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Self {
        Self {
            program: program(),
            launcher: Vec::new(),
            arguments: arguments.iter().map(|argument| argument.as_ref().to_owned()).collect(),
            folder: folder.to_owned(),
            variables: vec![("XDG_RUNTIME_DIR".into(), folder.into())],
            has_environment: true,
            streams: [None, None],
        }
    }

    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.folder = folder.to_owned();
        self
    }

    /// Another build of the program.
    pub fn build(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Has it started by another program, such as strace, that becomes it.
    pub fn under<S: Into<OsString>>(mut self, launcher: impl IntoIterator<Item = S>) -> Self {
        self.launcher = launcher.into_iter().map(Into::into).chain(self.launcher).collect();
        self
    }

    pub fn arguments<A: AsRef<OsStr>>(mut self, more: &[A]) -> Self {
        self.arguments.extend(more.iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// It gets no variables but those that are set after this.
    pub fn without_environment(mut self) -> Self {
        self.has_environment = false;
        self.variables.clear();
        self
    }

    /// Its stdout goes there, and is not collected.
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.streams[0] = Some(to.into());
        self
    }

    /// Its stderr goes there, and is not collected.
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.streams[1] = Some(to.into());
        self
    }

    /// The name is for messages of the test.
    pub fn start_as(self, name: &str) -> Process {
        let (mut command, streams) = self.command();
        Process::with_streams(name, &mut command, streams)
    }

    /// Starts it under the name of its command.
    pub fn start(self) -> Process {
        let name = self.arguments.first().map(|first| first.to_string_lossy().into_owned());
        self.start_as(&name.unwrap_or_default())
    }

    /// Runs it to its end.
    pub fn output(self) -> Output {
        let (mut command, [stdout, stderr]) = self.command();
        command.stdin(Stdio::null()).stdout(stdout.unwrap_or_else(Stdio::piped));
        let output = command.stderr(stderr.unwrap_or_else(Stdio::piped)).output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Output { code: output.status.code(), stdout, stderr }
    }

    fn command(self) -> (Command, [Option<Stdio>; 2]) {
        let mut words =
            heeding().iter().map(OsString::from).chain(self.launcher).chain([self.program.into()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(self.arguments).current_dir(self.folder);
        if self.has_environment {
            without_users_options(&mut command);
            command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("XDG_CONFIG_HOME");
        } else {
            command.env_clear();
        }
        command.envs(self.variables);
        (command, self.streams)
    }
}

/// Returns a launcher that has a program heed the signals that these tests ignore: programs
/// inherit that.
fn heeding() -> &'static [&'static str] {
    match is_ignored(Signal::INT) || is_ignored(Signal::HUP) {
        true => &["env", "--default-signal=INT,HUP"],
        false => &[],
    }
}

/// Returns whether these tests ignore a signal, as they do in the background of a shell or under
/// nohup(1). A program that they start heeds it all the same, but not from its first moment on.
pub fn is_ignored(signal: Signal) -> bool {
    static IGNORED: LazyLock<u64> = LazyLock::new(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default()
    });
    *IGNORED & (1 << (signal.as_raw() - 1)) != 0
}

/// Each option of the program may come from the environment of its user.
fn without_users_options(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"P2PFS_") {
            command.env_remove(name);
        }
    }
}
