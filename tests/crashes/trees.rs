//! Trees in surroundings that only root can make: mounts in them, and few watches.

use std::fs;
use std::process::Command;

use kit::{Lister, Missing, Need, World, await_until, is_root, list, tools};

/// A mount namespace, and a user namespace with a limit of watches.
static NAMESPACES: Need = Need::new(|| {
    is_root()?;
    tools(&["unshare", "mount"])?;
    let limit = "echo 20 > /proc/sys/user/max_inotify_watches";
    let arguments = ["--mount", "--user", "--map-root-user", "sh", "-c", limit];
    let output = Command::new("unshare").args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let may = output.status.success();
    if may { Ok(()) } else { Err(Missing::Kernel("user namespaces", error)) }
});
kit::tests! {
    NAMESPACES:
        nothing_that_is_mounted_in_a_tree_is_shared_and_it_is_told,
        more_folders_than_may_be_watched_are_looked_at;
}

fn nothing_that_is_mounted_in_a_tree_is_shared_and_it_is_told() {
    let world = World::new();
    let folder = world.folder("mine", &[("file", b"x"), ("bound", b"x")]);
    let other = world.folder("other", &[("secret", b"secret")]);
    for name in ["a/tmpfs", "a/bind", "b"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::write(folder.join("b/f"), b"x").unwrap();
    let script = format!(
        "mount -t tmpfs none mine/a/tmpfs && echo x > mine/a/tmpfs/f && \
         mount --bind {other} mine/a/bind && mount --bind {other}/secret mine/bound && exec \"$@\"",
        other = other.to_str().unwrap()
    );
    let share = world
        .command(&["share", "mine"])
        .under(["unshare", "--mount", "sh", "-c", &script, "sh"])
        .start();
    let mut lister = Lister::connect(share.await_listening());
    let listed = lister.list();
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["a", "b/f", "file"]);
    for name in ["a/tmpfs", "a/bind", "bound"] {
        let told = format!("not shared: {name}: another file system is mounted there");
        assert_eq!(share.count_in_log(&told), 1, "{}", share.said());
    }
}

fn more_folders_than_may_be_watched_are_looked_at() {
    let world = World::new();
    let folder = world.folder("mine", &[]);
    let write = |path: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    };
    (0..40).for_each(|n| write(&format!("d{n:02}/f")));
    let limited = "echo 20 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let share = world
        .command(&["share", "mine"])
        .under(["unshare", "--user", "--map-root-user", "sh", "-c", limited, "sh"])
        .start();
    await_until("all are there", || list(&share).len() == 40);
    assert_eq!(share.count_in_log("only 10 folders can be watched"), 1, "{}", share.said());
    write("d39/new");
    fs::remove_dir_all(folder.join("d38")).unwrap();
    write("d40/deep/f");
    await_until("all is found by looking", || {
        let listed = list(&share);
        ["d39/new", "d40/deep/f"].iter().all(|path| listed.contains_key(*path))
            && listed.keys().all(|path| !path.starts_with("d38"))
    });
    assert_eq!(share.count_in_log("can be watched"), 1, "once");
}
