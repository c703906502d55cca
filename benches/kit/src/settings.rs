//! The command line of a bench.

use std::fs;
use std::path::{PathBuf, absolute};

use crate::Outcome;

/// Pairs that a published figure needs at least.
const PAIRS: usize = 11;
const QUICK_PAIRS: usize = 2;

/// What the command line says.
pub struct Settings {
    pub is_quick: bool,
    pub json: Option<PathBuf>,
    /// Or runs, of what has nothing beside it.
    pub pairs: usize,
    /// Other builds of the program, for the bench that compares them.
    pub builds: Vec<PathBuf>,
    filters: Vec<String>,
}

impl Settings {
    pub fn parse(bench: &str, arguments: &[String]) -> Outcome<Self> {
        let (mut json, mut pairs) = (None, None);
        let (mut builds, mut filters) = (Vec::new(), Vec::new());
        // `cargo bench` gives `--bench` to every bench, and `cargo test --benches` does not.
        let mut is_quick = !arguments.iter().any(|argument| argument == "--bench");
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => is_quick = true,
                "--json" => json = Some(arguments.next().ok_or("--json needs a file")?.into()),
                "--pairs" => {
                    let number = arguments.next().and_then(|number| number.parse().ok());
                    pairs =
                        Some(number.filter(|n| *n > 0).ok_or("--pairs needs a number above 0")?);
                }
                "--build" if bench == "builds" => {
                    let path = arguments.next().ok_or("--build needs a program")?;
                    let found = fs::metadata(path).and_then(|_| absolute(path));
                    builds.push(found.map_err(|error| format!("{path}: {error}"))?);
                }
                "--bench" => {}
                flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}").into()),
                filter => filters.push(filter.to_owned()),
            }
        }
        let pairs = pairs.unwrap_or(if is_quick { QUICK_PAIRS } else { PAIRS });
        Ok(Self { is_quick, json, pairs, builds, filters })
    }

    /// One of two values: the second is for a quick run.
    pub fn choose<T>(&self, usual: T, quick: T) -> T {
        if self.is_quick { quick } else { usual }
    }

    /// How often each of many files is offered; a program that first hears them all waits so long.
    /// The registry may not be silent for longer than 5 s.
    pub fn many_offers_interval(&self) -> &'static str {
        self.choose("2s", "300ms")
    }

    /// Whether a table is asked for: the title contains one of the words given, or none
    /// was given.
    pub fn wants(&self, title: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| title.contains(filter))
    }
}
