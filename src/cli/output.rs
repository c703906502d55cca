//! Options about output: events, the log, metrics.

use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, Args};
use log::LevelFilter;

use super::loser;
use crate::exit::Failure;
use crate::ui::Show;

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print events on stdout, one JSON object a line; see `p2pfs man json`.
    #[arg(long, global = true)]
    pub json: bool,
    /// Log more: -v logs details, -vv everything.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Log errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl OutputArgs {
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        match loser(matches, "quiet", "verbose")? {
            Some("quiet") => self.quiet = false,
            Some(_) => self.verbose = 0,
            None => {}
        }
        Ok(())
    }

    /// Returns what a service shows.
    pub fn show(&self) -> Show {
        Show { json: self.json, has_progress: false, has_metrics: false }
    }

    /// Returns what a command of every day shows.
    pub fn show_daily(&self) -> Show {
        Show { json: self.json, has_progress: !self.quiet, has_metrics: false }
    }

    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            _ if self.quiet => LevelFilter::Error,
            0 => LevelFilter::Info,
            1 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct MetricsArgs {
    /// Write metrics to this file every 10 s, in the text format of Prometheus.
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
}
