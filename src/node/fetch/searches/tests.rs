//! Patterns at a `get` whose folder has all the files already: each is done once it is heard
//! of.

use super::*;
use crate::content::{Known, OnConflict};
use crate::node::scene::{PEER, actions, hear, name, settings, version};
use crate::node::{Action, GuestSettings, Input, Node, Outcome, PeerKind, PeerNode};

/// A `get` of a pattern, and the time.
struct Scene {
    node: PeerNode,
    now: Instant,
    /// Names that were found to be there, in order.
    found: Vec<String>,
    /// How often it was told that it listens on.
    idle: usize,
    outcome: Option<Outcome>,
}

impl Scene {
    fn new(pattern: &str, there: &[&str], timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        let guest = GuestSettings {
            timeout,
            retries_max: 0,
            on_conflict: OnConflict::Compare,
            gives: false,
        };
        let node = PeerNode::new(now, settings(PeerKind::Guest(guest)));
        let mut scene = Self { node, now, found: Vec::new(), idle: 0, outcome: None };
        for text in there {
            let (path, version) = (name(text).into(), version(1));
            scene.node.handle(now, Input::FileFound { path, version, known: Known::default() });
        }
        scene.node.handle(now, Input::WantMatching(&[NamePattern::new(pattern).unwrap()]));
        scene.drain();
        scene
    }

    fn drain(&mut self) {
        for action in actions(&mut self.node) {
            match action {
                Action::Report(Report::AlreadyThere { path } | Report::Skipped { path }) => {
                    let name = self.node.paths().get(path).map(ToString::to_string);
                    self.found.push(name.unwrap_or_default());
                }
                Action::Report(Report::ListeningOn) => self.idle += 1,
                Action::Exit(outcome) => self.outcome = Some(outcome),
                _ => {}
            }
        }
    }

    /// These names are offered now.
    fn hear(&mut self, names: &[&str]) {
        names.iter().for_each(|text| hear(&mut self.node, self.now, PEER, 3, text));
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// So many intervals pass, with the same offers in each. Returns whether it has ended.
    fn repeat(&mut self, intervals: u32, names: &[&str]) -> bool {
        for _ in 0..intervals {
            self.hear(names);
            self.pass(INTERVAL);
        }
        self.outcome.is_some()
    }
}

const INTERVAL: Duration = Duration::from_secs(5);

#[test]
fn each_new_match_begins_the_five_intervals_anew() {
    let mut scene = Scene::new("*", &["a", "b"], None);
    scene.pass(100 * INTERVAL);
    assert_eq!((scene.outcome.as_ref(), scene.found.len()), (None, 0));
    assert!(!scene.repeat(5, &["a"]));
    assert!(!scene.repeat(5, &["a", "b"]), "too early for the new one");
    assert!(scene.repeat(1, &["a", "b"]));
    assert_eq!((scene.outcome, scene.found.len()), (Some(Outcome::AllDone), 2));
    assert_eq!(scene.idle, 1);
}

#[test]
fn a_name_that_is_on_offer_wins_over_the_pattern_that_it_is() {
    let names = ["a1", "a2", "a[12]"];
    for order in [["a1", "a[12]", "a2"], ["a[12]", "a1", "a2"], ["a1", "a2", "a[12]"]] {
        let mut scene = Scene::new("a[12]", &names, None);
        scene.hear(&order);
        assert_eq!((scene.outcome, scene.found), (Some(Outcome::AllDone), vec!["a[12]".into()]));
    }
    // It is not, though a lost offer of it may be waited for.
    let mut scene = Scene::new("a[12]", &names, None);
    assert!(!scene.repeat(1, &["a1", "a2", "a3"]) && scene.found.is_empty());
    assert!(!scene.repeat(1, &["a1", "a2", "a3"]));
    assert_eq!(scene.found, ["a1", "a2"]);
    assert!(scene.repeat(4, &["a1", "a2", "a3"]));
    assert_eq!(scene.outcome, Some(Outcome::AllDone));
    // What can be no name waits for none.
    let mut scene = Scene::new("a[12]*", &names, None);
    scene.hear(&["a1"]);
    assert_eq!(scene.found, ["a1"]);
}

#[test]
fn without_certainty_it_does_not_say_that_all_is_there() {
    let more = |doubt| Some(Outcome::MaybeMore { done: 1, doubt });
    // The user's time is up.
    let mut scene = Scene::new("*", &["a"], Some(3 * INTERVAL));
    assert!(scene.repeat(4, &["a"]));
    assert_eq!(scene.outcome, more(Doubt::TimeUp));
    // Also while names are held back for one that may come.
    let mut scene = Scene::new("[a]", &["a"], Some(INTERVAL));
    assert!(scene.repeat(2, &["a"]));
    assert_eq!(scene.outcome, more(Doubt::TimeUp));
    // It is offered once and not again.
    let mut scene = Scene::new("*", &["a"], None);
    assert!(!scene.repeat(1, &["a"]));
    scene.pass(20 * INTERVAL);
    assert_eq!(scene.outcome, more(Doubt::HeardOnce));
    // Others are offered for ever.
    let all: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let mut scene = Scene::new("*", &all, None);
    let began = scene.now;
    for count in 1..all.len() {
        if !scene.repeat(1, &all[..count]) {
            assert!(scene.now - began <= PATTERN_TIME_MAX);
        }
    }
    assert!(matches!(scene.outcome, Some(Outcome::MaybeMore { doubt: Doubt::StillNews, .. })));
}

#[test]
fn more_matches_than_there_may_be_jobs_are_told_once() {
    let all: Vec<_> = (0..JOBS_MAX + 10).map(|number| number.to_string()).collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let mut scene = Scene::new("*", &all, None);
    let mut told = 0;
    for _ in 0..7 {
        for text in &all {
            hear(&mut scene.node, scene.now, PEER, 3, text);
            let is_told = |action: &Action| {
                assert!(!matches!(action, Action::Report(Report::FetchFailed { .. })));
                matches!(action, Action::Report(Report::TooManyMatch { .. }))
            };
            told += actions(&mut scene.node).iter().filter(|action| is_told(action)).count();
        }
        scene.pass(INTERVAL);
    }
    let doubt = Doubt::TooMany;
    assert_eq!(scene.outcome, Some(Outcome::MaybeMore { done: JOBS_MAX, doubt }));
    assert_eq!(told, 1);
}
