//! Trees that are shared, as others see them by version 1: what is listed and what is not, and
//! that it follows what changes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kit::{Listed, Lister, Process, World, await_until, content, list};

/// Waits until these paths are listed and no others; an empty folder ends with a slash.
#[track_caller]
fn await_paths(share: &Process, expected: &[&str]) {
    let shown = |(path, listed): (String, Option<Listed>)| match listed {
        Some(_) => path,
        None => format!("{path}/"),
    };
    await_until(&format!("{expected:?} are listed"), || {
        list(share).into_iter().map(shown).collect::<Vec<_>>() == expected
    });
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_tree_with_hostile_and_odd_names_is_listed_and_its_files_are_given() {
    let world = World::new();
    let folder = world.folder("mine", &[]);
    let odd = [
        "a",
        "a b/c d",
        "con.txt",
        "colon: and dots...",
        "dir/-rf",
        "dir/*?[x]",
        "dir/\u{e9}",
        "dir/e\u{301}",
        "dir/\u{200d}joined",
        "x=y/$HOME;`ls`'\"",
        &vec!["deep"; 32].join("/"),
        &[&"l".repeat(255)[..]; 4].join("/"),
    ];
    for (n, path) in odd.iter().enumerate() {
        write(&folder.join(path), &content(n as u64, 10 + n));
    }
    write(&folder.join("program"), b"#!");
    fs::set_permissions(folder.join("program"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(folder.join("empty/within")).unwrap();
    let outside = world.folder("outside", &[("secret", b"secret")]);
    let hostile = ["new\nline", "esc\x1b[2J", "back\\slash", "rtl\u{202e}", "\u{feff}bom"];
    for name in hostile {
        write(&folder.join("hostile").join(name), b"x");
    }
    fs::write(folder.join(std::ffi::OsStr::from_bytes(b"\xff")), b"x").unwrap();
    write(&folder.join(".hidden/x"), b"x");
    symlink(&outside, folder.join("out")).unwrap();
    symlink("dir", folder.join("in")).unwrap();
    symlink("../outside/secret", folder.join("file")).unwrap();

    let share = world.start(&["share", "mine"]);
    let mut expected = odd.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    expected.extend(["program", "empty/within", "hostile"].map(str::to_owned));
    expected.sort();
    await_until("all are hashed", || list(&share).values().flatten().all(|l| l.id.is_some()));
    let mut session = Lister::connect(share.await_listening());
    let listed = session.list();
    assert_eq!(listed.keys().cloned().collect::<Vec<_>>(), expected);
    for (n, path) in odd.iter().enumerate() {
        let (listed, content) = (listed[*path].clone().unwrap(), content(n as u64, 10 + n));
        assert_eq!(listed.id, Some(*blake3::hash(&content).as_bytes()), "{path}");
        assert_eq!(session.get(&listed), content, "{path}");
    }
    let executable = listed.iter().filter(|(_, l)| l.as_ref().is_some_and(|l| l.is_executable));
    assert_eq!(executable.map(|(path, _)| &**path).collect::<Vec<_>>(), ["program"]);
    assert_eq!(share.count_in_log("6 names that break the rule"), 1, "{}", share.said());
    assert_eq!(share.count_in_log("not a regular file but a link"), 3);
}

#[test]
fn folders_are_followed_as_they_come_go_and_move() {
    let world = World::new();
    let folder = world.folder("mine", &[]);
    write(&folder.join("a/b/old"), b"old");
    let share = world.start(&["share", "mine"]);
    await_paths(&share, &["a/b/old"]);
    write(&folder.join("new/deep/f"), b"f");
    await_paths(&share, &["a/b/old", "new/deep/f"]);
    fs::rename(folder.join("a/b"), folder.join("new/b")).unwrap();
    await_paths(&share, &["a/", "new/b/old", "new/deep/f"]);
    fs::rename(folder.join("new"), world.path().join("away")).unwrap();
    await_paths(&share, &["a/"]);
    write(&world.path().join("away/more"), b"x");
    fs::rename(world.path().join("away"), folder.join("a/back")).unwrap();
    await_paths(&share, &["a/back/b/old", "a/back/deep/f", "a/back/more"]);
    fs::write(folder.join("a/back/more"), b"longer").unwrap();
    await_until("the change is listed", || {
        let id = *blake3::hash(b"longer").as_bytes();
        list(&share)
            .get("a/back/more")
            .is_some_and(|listed| listed.as_ref().is_some_and(|listed| listed.id == Some(id)))
    });
    fs::remove_dir_all(folder.join("a")).unwrap();
    await_paths(&share, &[]);
    share.assert_running();
}

#[test]
fn several_roots_and_rules() {
    let world = World::new();
    for path in ["photos/2020/a.jpg", "photos/raw/a.raw", "photos/.thumbs/t", "x/photos/b.tmp"] {
        write(&world.path().join(path), path.as_bytes());
    }
    write(&world.path().join("movie.mkv"), b"movie");
    let roots = ["share", "photos", "old=x/photos", "movie.mkv"];
    let rules = ["--exclude", "raw", "--exclude", "old/*.tmp", "--hidden"];
    let share = world.command(&[&roots[..], &rules].concat()).start();
    await_paths(&share, &["movie.mkv", "old/", "photos/.thumbs/t", "photos/2020/a.jpg"]);
    write(&world.path().join("x/photos/c.tmp"), b"x");
    write(&world.path().join("photos/raw/b"), b"x");
    write(&world.path().join("photos/new/raw"), b"x");
    write(&world.path().join("beside"), b"x");
    fs::remove_file(world.path().join("movie.mkv")).unwrap();
    write(&world.path().join("x/photos/d"), b"x");
    await_paths(&share, &["old/d", "photos/.thumbs/t", "photos/2020/a.jpg", "photos/new/"]);
}

#[test]
fn a_hundred_thousand_files_in_a_thousand_folders() {
    let world = World::new();
    let folder = world.folder("mine", &[]);
    for n in 0..1000 {
        let folder = folder.join(format!("d{n:03}"));
        fs::create_dir(&folder).unwrap();
        (0..100).for_each(|file| fs::write(folder.join(format!("{file:02}")), b"").unwrap());
    }
    let share = world.start(&["share", "mine"]);
    let listed = list(&share);
    assert_eq!(listed.len(), 100_000);
    fs::rename(folder.join("d500"), folder.join("z")).unwrap();
    await_until("a folder is moved", || {
        let listed = list(&share);
        listed.len() == 100_000 && listed.contains_key("z/99") && !listed.contains_key("d500/99")
    });
}
