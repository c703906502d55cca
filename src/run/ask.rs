//! From a question for other programs of this user to their answers.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{loop_failed, result_of};
use crate::cli::OutputArgs;
use crate::exit::{ExitCode, Failure};
use crate::limits::PROGRESS_TIMEOUT;
use crate::node::{Answered, AskNode, Outcome};
use crate::proto::CloseReason;
use crate::proto::control::Ask;
use crate::reactor::{Network, RateLimits, Reactor, Signals, Sockets};
use crate::ui::Ui;
use crate::wire::Shown;

/// Asks the programs behind some control sockets.
pub(super) struct Asker {
    reactor: Reactor<AskNode>,
    paths: Vec<PathBuf>,
}

impl Asker {
    /// Returns one that asks the programs at these paths, and calls itself `name` in the log.
    pub(super) fn new(name: &str, paths: &[PathBuf], output: &OutputArgs) -> Result<Self, Failure> {
        let signals = Signals::new().map_err(loop_failed)?;
        let sockets = Sockets {
            network: Network::unused(),
            progress_timeout: PROGRESS_TIMEOUT,
            rate_limits: RateLimits::default(),
            listener: None,
            offers: None,
            beacons: None,
            control: None,
            programs: paths.to_vec(),
        };
        let ui = Ui::new(name.into(), output.show());
        let reactor = Reactor::new(ui, AskNode::new(), signals, sockets, None);
        Ok(Self { reactor: reactor.map_err(loop_failed)?, paths: paths.to_vec() })
    }

    /// Asks all of them, and waits for the answers, `until` then at most. Returns the exit code
    /// if a signal comes before.
    pub(super) fn ask(
        &mut self,
        ask: &Ask,
        until: Option<Instant>,
    ) -> Result<Option<ExitCode>, Failure> {
        let all: Vec<_> = (0..self.paths.len()).collect();
        self.ask_some(&all, ask, until)
    }

    /// Asks those with these numbers.
    pub(super) fn ask_some(
        &mut self,
        programs: &[usize],
        ask: &Ask,
        until: Option<Instant>,
    ) -> Result<Option<ExitCode>, Failure> {
        self.reactor.node().ask(Instant::now(), programs, ask, until);
        match self.reactor.run([]).map_err(loop_failed)? {
            Outcome::AllDone => Ok(None),
            outcome => result_of(outcome, None).map(Some),
        }
    }

    /// Returns the answers to the last question, each with the path of its program.
    pub(super) fn answers(&mut self) -> impl Iterator<Item = (&Path, &Answered)> {
        let Self { reactor, paths } = self;
        let answers = reactor.node().answers();
        answers.iter().filter_map(|(program, answered)| Some((&**paths.get(*program)?, answered)))
    }
}

/// Returns what to tell the user of a program that did not answer.
pub(super) fn no_answer(path: &Path, reason: CloseReason) -> Failure {
    let path = Shown(path.to_string_lossy());
    let why = match reason {
        CloseReason::TimedOut(_) | CloseReason::Broken(ErrorKind::TimedOut) => {
            "it took too long".to_owned()
        }
        CloseReason::Broken(ErrorKind::NotFound) => "no such socket".to_owned(),
        CloseReason::Broken(ErrorKind::PermissionDenied) => "it belongs to another user".to_owned(),
        reason => reason.to_string(),
    };
    let message = format_args!("no answer at {path}: {why}; does it still run? ");
    let message = format_args!("{message}`p2pfs status` finds those that do");
    Failure::new(ExitCode::Unreachable, message)
}
