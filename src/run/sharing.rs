//! What a program shares at its start: read, told to the user, and to the node as first inputs.

use std::fmt::Display;
use std::path::PathBuf;
use std::rc::Rc;

use crate::cli::OutputArgs;
use crate::count::Count;
use crate::exit::{ExitCode, Failure};
use crate::limits::{PEER_NAME_BYTES_MAX, SKIPPED_EVENTS_MAX, SKIPPED_LINES_MAX};
use crate::node::Input;
use crate::reactor::Files;
use crate::storage::{
    DigestCache, PassedOver, RootError, SharedFolder, SharedTree, Skipped, TreeScan, Watch,
};
use crate::ui::{Event, stdout, text};
use crate::wire::Shown;
use crate::wire::v1::PeerName;

/// A tree that was read, and is watched.
pub(super) struct Sharing {
    tree: SharedTree,
    watch: Watch,
    scan: TreeScan,
}

/// The first inputs of the node, each made when it is given: there may be a million.
pub(super) type Inputs<'a> = Box<dyn Iterator<Item = Input<'a>>>;

/// What the user is told of it.
pub(super) struct Summary {
    /// How many files are shared.
    pub(super) files: usize,
    passed_over: PassedOver,
}

impl Sharing {
    /// Reads a tree.
    pub(super) fn new(tree: SharedTree) -> Result<Self, Failure> {
        // Before the scan, so that nothing falls between the two.
        let mut watch = Watch::new(&tree);
        let scan = tree.scan(&mut watch).map_err(not_shared)?;
        Ok(Self { tree, watch, scan })
    }

    /// Adds what was passed over before the tree was read.
    pub(super) fn pass_over(&mut self, skipped: &[Skipped]) {
        skipped.iter().for_each(|skipped| self.scan.passed_over.add(skipped.clone()));
    }

    /// Returns the files, those that stand there with what is known of them as first inputs, and
    /// what the user is told. The digests that an
    /// earlier run has kept are in the folder of `caches`, if there is one; files are fetched
    /// into the `folder`, if there is one.
    pub(super) fn into_files<'a>(
        self,
        folder: Option<SharedFolder>,
        caches: Option<PathBuf>,
    ) -> (Files, Inputs<'a>, Summary) {
        let Self { tree, watch, scan: TreeScan { files, empty_folders, passed_over } } = self;
        let summary = Summary { files: files.len(), passed_over };
        let opened = caches.and_then(|caches| DigestCache::open(&caches, &tree, &files).ok());
        let (cache, known) = opened.unzip();
        let mut known = known.unwrap_or_default().into_iter();
        let found = files.into_iter().map(move |(path, version)| {
            let known = known.next().unwrap_or_default();
            Input::FileFound { path, version, known }
        });
        let empty = empty_folders.clone().into_iter().map(|path| Input::EmptyFolder { path });
        let inputs = Box::new(found.chain(empty));
        let files = Files::new(Rc::new(tree), folder, cache).following(watch, empty_folders);
        (files, inputs, summary)
    }
}

impl Summary {
    /// Says on stderr what is not shared, and with a `hint` how hidden names can be.
    pub(super) fn warn(&self, target: &str, hint: &str) {
        let PassedOver { illegal, hidden, others, .. } = &self.passed_over;
        for skipped in others.iter().take(SKIPPED_LINES_MAX) {
            log::warn!(target: target, "not shared: {skipped}");
        }
        let count = self.passed_over.others_count;
        if count > SKIPPED_LINES_MAX {
            log::warn!(target: target, "not shared: {} more", count - SKIPPED_LINES_MAX);
        }
        if let Some(first) = illegal.first() {
            match self.passed_over.illegal_count {
                1 => log::warn!(target: target, "not shared: {first}"),
                count => log::warn!(
                    target: target,
                    "not shared: {count} names that break the rule for names, such as {first}"
                ),
            }
        }
        if let Some(first) = hidden.first() {
            let count = self.passed_over.hidden_count;
            let such_as = if count == 1 { "" } else { "such as " };
            log::info!(
                target: target,
                "not shared: {}, {such_as}{}{hint}",
                Count(count, "hidden name"),
                Shown(&first.name)
            );
        }
    }

    /// Says what is shared of `paths`, as events.
    pub(super) fn say(&self, paths: &dyn Display, output: &OutputArgs) {
        if !output.json {
            return;
        }
        let passed_over = &self.passed_over;
        let (folder, skipped) = (text(paths), passed_over.count());
        stdout::print(&Event::Sharing { folder, files: self.files, skipped }.line());
        let PassedOver { illegal, hidden, others, .. } = passed_over;
        let all = others.iter().chain(illegal).chain(hidden);
        for Skipped { name, why } in all.take(SKIPPED_EVENTS_MAX) {
            stdout::print(&Event::FileSkipped { name: text(name), reason: text(why) }.line());
        }
    }
}

pub(super) fn not_shared(error: RootError) -> Failure {
    let code = match &error {
        RootError::Io(..) => ExitCode::Other,
        _ => ExitCode::Usage,
    };
    Failure::new(code, error)
}

/// Returns the name of this machine; none if it breaks the rule for peer names.
pub(super) fn name_of_host() -> PeerName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let end =
        (0..=name.len().min(PEER_NAME_BYTES_MAX)).rev().find(|end| name.is_char_boundary(*end));
    PeerName::new(&name[..end.unwrap_or_default()]).unwrap_or_else(|_| PeerName::none())
}
