use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};

use super::*;
use crate::content::FileError;
use crate::storage::{Exclude, ShareRules};

fn open(path: &Path, rules: ShareRules) -> SharedTree {
    SharedTree::open(&[(None, path.to_owned())], rules).unwrap()
}

fn scan(tree: &SharedTree) -> TreeScan {
    tree.scan(&mut Watch::new(tree)).unwrap()
}

fn paths(scan: &TreeScan) -> Vec<&str> {
    scan.files.iter().map(|(path, _)| path.as_str()).collect()
}

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

#[test]
fn a_scan_sorts_what_can_be_shared_from_what_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::create_dir_all(at("a/empty")).unwrap();
    fs::create_dir_all(at("of hidden")).unwrap();
    fs::create_dir_all(at(".git/objects")).unwrap();
    for file in ["top", "a/x", "a/b/c/y", "a.txt", "aux.c", "x: y.", ".git/z", "of hidden/.z"] {
        fs::write(at(file), file).unwrap();
    }
    File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
    fs::write(at("a/evil\x1b[2J"), b"x").unwrap();
    fs::write(at(".p2pfs-1-1.partial"), b"x").unwrap();
    fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff")), b"x").unwrap();
    symlink("/etc", at("a/link")).unwrap();
    symlink("top", at("within")).unwrap();
    let fifo = at("a/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _listener = UnixListener::bind(at("socket")).unwrap();

    let tree = open(folder.path(), ShareRules::default());
    let found = scan(&tree);
    let expected = ["a/b/c/y", "a/x", "a.txt", "aux.c", "sparse", "top", "x: y."];
    assert_eq!(paths(&found), expected);
    assert_eq!(found.empty_folders, ["a/empty", "of hidden"].map(path));
    let PassedOver { illegal, hidden, others, .. } = &found.passed_over;
    let lines = |skipped: &[Skipped]| skipped.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        lines(others),
        [
            "a/fifo: not a regular file but a FIFO",
            "a/link: not a regular file but a link",
            "socket: not a regular file but a socket",
            "within: not a regular file but a link",
        ]
    );
    let control = "a/evil\\u{1b}[2J: a component holds a control or reordering character";
    assert_eq!(lines(illegal), [control, "\u{fffd}: the path is not UTF-8"]);
    assert_eq!(
        lines(hidden),
        [".git", "of hidden/.z"].map(|name| { format!("{name}: the name begins with a dot") })
    );
    assert_eq!(found.passed_over.count(), 8);
    for (path, version) in &found.files {
        assert_eq!(tree.open_source(path).unwrap().version(), *version, "{path}");
        assert_eq!(tree.look_at(path), Ok(Some(There::File(*version))), "{path}");
    }
}

#[test]
fn hidden_and_excluded_names_are_shared_as_the_user_wants() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for path in [".h/x", "a/.y", "a/b.tmp", "a/build/z", "build/z", "c/keep"] {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), b"").unwrap();
    }
    let excludes = ["*.tmp", "/build"].map(|glob| Exclude::new(glob).unwrap()).to_vec();
    let tree = open(folder.path(), ShareRules { hidden: true, excludes });
    let found = scan(&tree);
    assert_eq!(paths(&found), [".h/x", "a/.y", "a/build/z", "c/keep"]);
    assert_eq!(found.passed_over.count(), 0, "what is excluded is not told");
    // Also if it is asked for by its path.
    assert_eq!(tree.look_at(&path("build/z")), Err(SkipReason::Excluded));
    let tree = open(folder.path(), ShareRules::default());
    assert_eq!(tree.look_at(&path(".h/x")), Err(SkipReason::Hidden));
    assert_eq!(tree.look_at(&path("a/.y")), Err(SkipReason::Hidden));
}

#[test]
fn several_roots_stand_side_by_side_under_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("photos/2020")).unwrap();
    fs::create_dir_all(at("x/photos")).unwrap();
    for path in ["photos/2020/a", "x/photos/b", "movie.mkv", "beside"] {
        fs::write(at(path), path).unwrap();
    }
    symlink("movie.mkv", at("link.mkv")).unwrap();
    let open = |roots: &[(Option<&str>, &str)]| {
        let root = |(name, path): &(Option<&str>, &str)| (name.map(str::to_owned), at(path));
        let roots: Vec<(Option<String>, PathBuf)> = roots.iter().map(root).collect();
        SharedTree::open(&roots, ShareRules::default())
    };
    let roots =
        [(None, "photos"), (None, "movie.mkv"), (Some("old"), "x/photos"), (None, "link.mkv")];
    let tree = open(&roots).unwrap();
    let names: Vec<_> = tree.names().collect();
    assert_eq!(names, ["link.mkv", "movie.mkv", "old/", "photos/"]);
    let found = scan(&tree);
    assert_eq!(paths(&found), ["link.mkv", "movie.mkv", "old/b", "photos/2020/a"]);
    for absent in ["beside", "movie.mkv/x", "photos/b", "old/..", "x/photos/b"] {
        if let Ok(absent) = FilePath::new(absent) {
            assert_eq!(tree.look_at(&absent), Ok(None), "{absent}");
            assert!(tree.open_source(&absent).is_err());
        }
    }
    assert_eq!(tree.look_at(&path("photos")), Ok(Some(There::Folder)));

    let error = open(&[(None, "photos"), (None, "x/photos")]).unwrap_err().to_string();
    let both = [at("photos"), at("x/photos")].map(|path| path.to_str().unwrap().to_owned());
    assert!(both.iter().all(|path| error.contains(path)) && error.contains("NAME="), "{error}");
    let one = open(&[(Some("n"), "photos")]).unwrap();
    assert_eq!(paths(&scan(&one)), ["n/2020/a"], "one folder with a name");
    assert!(open(&[(None, "absent")]).is_err());
    let error = open(&[(None, "photos"), (None, "x/photos/..")]).unwrap();
    assert_eq!(error.names().collect::<Vec<_>>(), ["photos/", "x/"]);
}

#[test]
fn nothing_is_reached_through_links_however_they_come_there() {
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    fs::create_dir_all(at("shared/a")).unwrap();
    fs::create_dir_all(at("outside/a")).unwrap();
    for path in ["shared/a/f", "outside/a/f", "outside/f"] {
        fs::write(at(path), b"x").unwrap();
    }
    let tree = open(&at("shared"), ShareRules::default());
    assert_eq!(paths(&scan(&tree)), ["a/f"]);
    // A link comes in the place of the folder, and of the file.
    fs::rename(at("shared/a"), at("shared/b")).unwrap();
    symlink(at("outside/a"), at("shared/a")).unwrap();
    assert_eq!(tree.open_source(&path("a/f")).unwrap_err(), FileError::Missing);
    assert_eq!(tree.look_at(&path("a/f")), Ok(None));
    fs::remove_file(at("shared/b/f")).unwrap();
    symlink(at("outside/f"), at("shared/b/f")).unwrap();
    assert_eq!(tree.open_source(&path("b/f")).unwrap_err(), FileError::Missing);
    assert_eq!(tree.look_at(&path("b/f")), Err(SkipReason::NotRegular("a link")));
    assert!(paths(&scan(&tree)).is_empty());
}

#[test]
fn folders_as_deep_as_paths_may_be_are_read_and_no_deeper() {
    let folder = tempfile::tempdir().unwrap();
    let deepest = vec!["d"; 31].join("/");
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at(&format!("{deepest}/e/too deep"))).unwrap();
    fs::write(at(&format!("{deepest}/f")), b"x").unwrap();
    fs::write(at(&format!("{deepest}/e/g")), b"x").unwrap();
    let tree = open(folder.path(), ShareRules::default());
    let found = scan(&tree);
    assert_eq!(paths(&found), [format!("{deepest}/f")]);
    assert_eq!(found.passed_over.illegal_count, 2);
    assert_eq!(found.empty_folders, [path(&format!("{deepest}/e"))]);
}

#[test]
fn a_scan_ends_at_its_limit_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..5 {
        fs::create_dir(folder.path().join(format!("d{n}"))).unwrap();
        fs::write(folder.path().join(format!("d{n}/f")), b"").unwrap();
    }
    let tree = open(folder.path(), ShareRules::default());
    let scan = |files_max| tree.scan_up_to(files_max, &mut Watch::new(&tree)).unwrap();
    let found = scan(3);
    assert_eq!((found.files.len(), found.passed_over.count()), (3, 1));
    assert_eq!(found.passed_over.others[0].why, SkipReason::TooMany);
    assert_eq!((scan(5).files.len(), scan(5).passed_over.count()), (5, 0));
}

#[test]
fn what_is_passed_over_is_counted_and_the_first_of_it_is_kept() {
    let mut passed_over = PassedOver::default();
    for n in 0..3 * SKIPPED_EVENTS_MAX {
        let whys = [SkipReason::Hidden, SkipReason::Mounted, SkipReason::Excluded];
        passed_over.add(Skipped { name: n.to_string(), why: whys[n % 3] });
    }
    assert_eq!(passed_over.count(), 2 * SKIPPED_EVENTS_MAX);
    assert_eq!(passed_over.hidden.len() + passed_over.others.len(), 2 * SKIPPED_EVENTS_MAX);
    passed_over.add(Skipped { name: String::new(), why: SkipReason::Hidden });
    assert_eq!((passed_over.hidden.len(), passed_over.hidden_count), (100, 101));
}
