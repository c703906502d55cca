use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::*;
use crate::content::Version;

use crate::storage::{ShareRules, TreeScan};

/// A tree that is followed, and what a node knows of it that asks for looks at once.
struct Scene {
    tree: SharedTree,
    follower: Follower,
    now: Instant,
    files: BTreeMap<FilePath, (Version, Sight)>,
    empty: BTreeSet<FilePath>,
    lost: Option<FolderLoss>,
    skipped: Vec<String>,
    inputs: usize,
}

impl Scene {
    fn of(roots: &[(Option<String>, PathBuf)], watches_max: usize) -> Self {
        let tree = SharedTree::open(roots, ShareRules::default()).unwrap();
        let mut watch = Watch::with(&tree, watches_max);
        let TreeScan { files, empty_folders, .. } = tree.scan(&mut watch).unwrap();
        let now = Instant::now();
        let looked = |(path, version)| (path, (version, Sight::Looked));
        Self {
            follower: Follower::new(now, watch, empty_folders.clone()),
            tree,
            now,
            files: files.into_iter().map(looked).collect(),
            empty: empty_folders.into_iter().collect(),
            lost: None,
            skipped: Vec::new(),
            inputs: 0,
        }
    }

    fn new(folder: &Path) -> Self {
        Self::of(&[(None, folder.to_owned())], 10_000)
    }

    /// Takes in all that has happened.
    fn settle(&mut self) {
        self.follower.set_ready();
        while self.follower.has_work() {
            self.step();
        }
    }

    fn step(&mut self) {
        let Findings { inputs, skipped } = self.follower.step(self.now, &self.tree);
        // A few for each thing that is looked at.
        assert!(inputs.len() <= 4 * TURN_ITEMS + TURN_ITEMS / 8, "{} at once", inputs.len());
        self.inputs += inputs.len();
        self.skipped.extend(skipped.iter().map(ToString::to_string));
        for input in inputs {
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input<'static>) {
        assert_eq!(self.lost, None, "{input:?}");
        match input {
            Input::FileSeen { path, version, sight } => {
                self.files.insert(path, (version, sight));
            }
            Input::FileGone { path } => _ = self.files.remove(&path),
            Input::EmptyFolder { path } => assert!(self.empty.insert(path)),
            Input::EmptyFolderGone { path } => assert!(self.empty.remove(&path), "{path}"),
            Input::ChangesMissed { below } => {
                let is_below = |path: &&FilePath| below.as_ref().is_none_or(|b| path.is_below(b));
                for path in self.files.keys().filter(is_below).cloned().collect::<Vec<_>>() {
                    match self.tree.look_at(&path) {
                        Ok(Some(There::File(version))) => {
                            self.files.insert(path, (version, Sight::Looked));
                        }
                        _ => _ = self.files.remove(&path),
                    }
                }
            }
            Input::FolderLost(why) => {
                self.files.clear();
                self.lost = Some(why);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Lets so much time pass that everything is looked at, if that is due.
    fn wait(&mut self) {
        self.now += RESCAN_INTERVAL * 2;
        self.settle();
    }

    /// Compares what the node knows with what is there.
    #[track_caller]
    fn check(&self, what: &str) {
        let scan = self.tree.scan(&mut Watch::with(&self.tree, 0)).unwrap();
        let known: Vec<_> = self.files.iter().map(|(path, (v, _))| (path.clone(), *v)).collect();
        assert_eq!(known, scan.files, "{what}");
        let empty: Vec<_> = self.empty.iter().cloned().collect();
        assert_eq!(empty, scan.empty_folders, "{what}");
    }

    fn sight(&self, text: &str) -> Option<Sight> {
        self.files.get(&path(text)).map(|(_, sight)| *sight)
    }
}

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

#[test]
fn folders_are_followed_as_they_come_go_and_move() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut scene = Scene::new(folder.path());
    let mut then = |what: &str| {
        scene.settle();
        scene.check(what);
    };
    fs::create_dir_all(at("a/b/c")).unwrap();
    then("an empty folder in others");
    fs::write(at("a/b/c/f"), b"x").unwrap();
    then("a file in it");
    fs::create_dir(at("new")).unwrap();
    fs::write(at("new/f"), b"x").unwrap();
    then("a folder and what is in it, at once");
    fs::rename(at("a/b"), at("new/b")).unwrap();
    then("moved within the tree: the old one is empty");
    fs::write(at("new/b/c/g"), b"x").unwrap();
    then("written below a folder that was moved");
    fs::rename(at("new"), at("a/new")).unwrap();
    fs::rename(at("a"), at("z")).unwrap();
    then("moved twice");
    fs::rename(at("z/new/b"), at(".hidden")).unwrap();
    then("moved to where it is not shared");
    fs::write(at(".hidden/c/h"), b"x").unwrap();
    then("written there");
    fs::rename(at(".hidden"), at("seen")).unwrap();
    then("and back");
    fs::remove_file(at("z/new/f")).unwrap();
    then("the last file of a folder is gone");
    fs::remove_dir_all(at("z")).unwrap();
    fs::write(at("z"), b"x").unwrap();
    then("a file in the place of a folder");
    fs::remove_file(at("z")).unwrap();
    fs::create_dir(at("z")).unwrap();
    then("a folder in the place of a file");
    fs::remove_dir_all(at("seen")).unwrap();
    fs::create_dir_all(at("seen/c")).unwrap();
    then("another folder in the place of one");
    std::os::unix::fs::symlink("z", at("link")).unwrap();
    then("a link to a folder");
    fs::rename(at("z"), at("seen/c/z")).unwrap();
    fs::rename(at("seen/c/z"), at("y")).unwrap();
    then("in and out of a folder that was empty");
    assert_eq!(scene.skipped, ["link: not a regular file but a link"]);
    assert!(!scene.follower.has_work() && scene.follower.next_rescan_at.is_none());
}

#[test]
fn what_comes_with_a_folder_is_as_whole_as_it_was_there() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    let mut scene = Scene::new(folder.path());
    fs::create_dir(elsewhere.path().join("d")).unwrap();
    fs::write(elsewhere.path().join("d/f"), b"x").unwrap();
    fs::rename(elsewhere.path().join("d"), at("d")).unwrap();
    scene.settle();
    assert_eq!(scene.sight("d/f"), Some(Sight::Moved));
    // One that a writer has open stays so, wherever it is moved.
    let mut writer = OpenOptions::new().append(true).open(at("d/f")).unwrap();
    io::Write::write_all(&mut writer, b"y").unwrap();
    scene.settle();
    fs::rename(at("d"), at("e")).unwrap();
    scene.settle();
    assert_eq!((scene.sight("d/f"), scene.sight("e/f")), (None, Some(Sight::Written)));
    drop(writer);
    scene.settle();
    assert_eq!(scene.sight("e/f"), Some(Sight::Closed));
    // In a folder that is new a writer may be at work.
    fs::create_dir(at("new")).unwrap();
    let _writer = File::create(at("new/f")).unwrap();
    scene.settle();
    assert!(matches!(scene.sight("new/f"), Some(Sight::Looked | Sight::Created)));
}

/// Does something by chance in a folder, among few names so that they meet.
fn disturb(folder: &Path, rng: &mut fastrand::Rng) {
    let mut any = |depth: usize| {
        let names = (0..=rng.usize(..depth)).map(|_| ["a", "b", "c", ".h"][rng.usize(..4)]);
        folder.join(names.collect::<PathBuf>())
    };
    let (one, other) = (any(3), any(3));
    // What cannot be done is not done.
    match rng.u8(..9) {
        0..3 => _ = fs::write(one, [0; 9].get(..rng.usize(..9)).unwrap()),
        3..5 => _ = fs::create_dir_all(one),
        5..7 => _ = fs::rename(one, other),
        7 => _ = fs::remove_file(one),
        _ => _ = fs::remove_dir_all(one),
    }
}

#[test]
fn whatever_happens_the_node_knows_what_is_there_in_the_end() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..20).for_each(|_| disturb(folder.path(), &mut rng));
        let mut scene = Scene::new(folder.path());
        for round in 0..60 {
            for _ in 0..rng.usize(1..8) {
                disturb(folder.path(), &mut rng);
                if rng.u8(..3) == 0 {
                    // In the middle of it.
                    scene.follower.set_ready();
                    scene.step();
                }
            }
            scene.settle();
            scene.check(&format!("seed {seed}, round {round}"));
            assert!(scene.follower.next_rescan_at.is_none());
        }
    }
}

#[test]
fn folders_beyond_the_limit_are_looked_at_from_time_to_time() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..40).for_each(|_| disturb(folder.path(), &mut rng));
        let roots = [(None, folder.path().to_owned())];
        let mut scene = Scene::of(&roots, seed as usize % 4);
        for round in 0..20 {
            (0..rng.usize(1..8)).for_each(|_| disturb(folder.path(), &mut rng));
            scene.wait();
            scene.wait();
            scene.check(&format!("seed {seed}, round {round}"));
        }
    }
}

#[test]
fn more_than_the_kernel_can_tell_is_found_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/b/old"), b"x").unwrap();
    let mut scene = Scene::new(folder.path());
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queued_max: usize = queue.trim().parse().unwrap();
    for n in 0..=queued_max / 2 {
        drop(File::create(at(&format!("a/{}", n % 10))).unwrap());
        fs::remove_file(at(&format!("a/{}", n % 10))).unwrap();
    }
    fs::rename(at("a/b"), at("c")).unwrap();
    fs::create_dir_all(at("d/e")).unwrap();
    fs::write(at("c/new"), b"x").unwrap();
    scene.settle();
    scene.check("after all that");
    fs::write(at("c/later"), b"x").unwrap();
    fs::write(at("d/e/later"), b"x").unwrap();
    scene.settle();
    scene.check("and all folders are heard");
}

#[test]
fn of_several_roots_one_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b"] {
        fs::create_dir_all(at(name).join("empty")).unwrap();
        fs::write(at(name).join("f"), b"x").unwrap();
    }
    fs::write(at("movie"), b"x").unwrap();
    let roots = ["a", "b", "movie"].map(|name| (None, at(name)));
    let mut scene = Scene::of(&roots, 100);
    fs::rename(at("a"), at("away")).unwrap();
    scene.settle();
    assert_eq!(scene.files.keys().cloned().collect::<Vec<_>>(), ["b/f", "movie"].map(path));
    assert_eq!(scene.empty, [path("b/empty")].into());
    fs::write(at("away/f"), b"xx").unwrap();
    fs::write(at("b/g"), b"x").unwrap();
    fs::remove_file(at("movie")).unwrap();
    fs::write(at("movie"), b"yy").unwrap();
    scene.settle();
    assert_eq!(scene.sight("movie"), Some(Sight::Closed));
    scene.check("the others are followed");
    fs::remove_dir_all(at("b")).unwrap();
    fs::remove_file(at("movie")).unwrap();
    scene.settle();
    assert_eq!((scene.files.len(), scene.empty.len(), scene.lost), (0, 0, None));
    fs::write(at("movie"), b"z").unwrap();
    scene.settle();
    assert_eq!(scene.sight("movie"), Some(Sight::Closed), "a file may come again");
}

#[test]
fn a_folder_that_is_all_that_is_shared_is_lost_once() {
    let outer = tempfile::tempdir().unwrap();
    let shared = outer.path().join("shared");
    fs::create_dir_all(shared.join("empty")).unwrap();
    fs::write(shared.join("f"), b"x").unwrap();
    let mut scene = Scene::new(&shared);
    fs::remove_dir_all(&shared).unwrap();
    scene.settle();
    assert_eq!(scene.lost, Some(FolderLoss::Gone));
    assert!(scene.files.is_empty() && scene.empty.is_empty());
    fs::create_dir(&shared).unwrap();
    scene.wait();
    assert!(scene.follower.next_look_at().is_none());
}

#[test]
fn a_large_folder_that_comes_is_read_in_steps() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let come = elsewhere.path().join("come");
    for n in 0..20 {
        fs::create_dir_all(come.join(n.to_string())).unwrap();
        for file in 0..50 {
            fs::write(come.join(format!("{n}/{file}")), b"x").unwrap();
        }
    }
    let mut scene = Scene::new(folder.path());
    fs::rename(&come, folder.path().join("come")).unwrap();
    scene.follower.set_ready();
    let mut steps = 0;
    while scene.follower.has_work() {
        let before = scene.inputs;
        scene.step();
        assert!(scene.inputs - before <= TURN_ITEMS + 2);
        steps += 1;
    }
    assert!(steps > 1000 / TURN_ITEMS && steps < 20, "{steps}");
    scene.check("all of it");
}
