//! Tests that are not possible everywhere.
//!
//! A target that has some is built with `harness = false`, lists its tests with
//! [`tests!`](crate::tests) and gives the lists to [`run`]. A test that lacks something is
//! skipped and never counts as passed; the last lines say which were skipped, and why:
//!
//! ```text
//! skipped: links::a_short_cut_costs_no_transfer: needs root
//! network: 41 passed, 0 failed, 1 skipped
//! ```

use std::env;
use std::fmt::{self, Display};
use std::process::ExitCode;
use std::sync::{Arc, LazyLock, Mutex};

use libtest_mimic::{Arguments, Completion, Trial};

/// A reason for which a test is not possible here.
#[derive(Clone, Debug)]
pub enum Missing {
    /// The user is not root.
    Root,
    /// This tool is not installed.
    Tool(&'static str),
    /// The kernel, or the container, does not do this; with its error.
    Kernel(&'static str, String),
}

impl Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("needs root"),
            Self::Tool(tool) => write!(f, "needs {tool}"),
            // .ci/run knows this beginning: of all reasons it accepts no other.
            Self::Kernel(feature, error) => write!(f, "needs a kernel with {feature}: {error}"),
        }
    }
}

/// Something that tests need, looked for once and only if one of them is run.
pub struct Need(LazyLock<Result<(), Missing>>);

impl Need {
    /// Makes a need that is met if this check succeeds.
    pub const fn new(check: fn() -> Result<(), Missing>) -> Self {
        Self(LazyLock::new(check))
    }
}

/// The need of a test that is possible everywhere.
pub static NOTHING: Need = Need::new(|| Ok(()));

/// Fails unless the user is root.
pub fn is_root() -> Result<(), Missing> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Missing::Root) }
}

/// Fails unless each of these tools is in a folder of `PATH`.
pub fn tools(tools: &[&'static str]) -> Result<(), Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |tool: &str| env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    match tools.iter().find(|tool| !is_there(tool)) {
        Some(tool) => Err(Missing::Tool(tool)),
        None => Ok(()),
    }
}

/// A test of a target without the usual harness.
pub struct Test {
    /// `target::module::test`.
    pub path: &'static str,
    /// What it takes.
    pub need: &'static Need,
    /// Panics if the test fails.
    pub run: fn(),
}

/// Lists the tests of a module as its `TESTS`, each group behind what it needs. A test that is
/// not listed is dead code, of which the compiler warns.
///
/// ```ignore
/// kit::tests![a_test, another_test];
/// kit::tests! { NOTHING: a_test; HOSTS: another_test, a_third_one }
/// ```
#[macro_export]
macro_rules! tests {
    ($($need:ident: $($test:ident),+ $(,)?);+ $(;)?) => {
        pub(crate) static TESTS: &[$crate::Test] = &[$($($crate::Test {
            path: concat!(module_path!(), "::", stringify!($test)),
            need: &$need,
            run: $test,
        }),+),+];
    };
    ($($test:ident),+ $(,)?) => {
        use $crate::NOTHING;
        $crate::tests! { NOTHING: $($test),+ }
    };
}

/// Runs the tests of a target as its arguments say, on so many threads if these do not; returns
/// what the process has to end with.
pub fn run<'a>(tests: impl IntoIterator<Item = &'a Test>, threads: Option<usize>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(threads);
    let skipped = Arc::<Mutex<Vec<String>>>::default();
    let mut target = "";
    let mut trials = Vec::new();
    for Test { path, need, run } in tests {
        let name;
        (target, name) = path.split_once("::").expect("a test is in a target");
        let (need, run, skipped) = (*need, *run, Arc::clone(&skipped));
        trials.push(Trial::ignorable_test(name, move || {
            if let Err(missing) = &*need.0 {
                skipped.lock().unwrap().push(format!("skipped: {name}: {missing}"));
                return Ok(Completion::ignored_with(missing));
            }
            run();
            Ok(Completion::Completed)
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut skipped = skipped.lock().unwrap();
    skipped.sort();
    skipped.iter().for_each(|line| println!("{line}"));
    if !arguments.list {
        let (passed, failed) = (conclusion.num_passed, conclusion.num_failed);
        println!("{target}: {passed} passed, {failed} failed, {} skipped", conclusion.num_ignored);
    }
    conclusion.exit_code()
}
