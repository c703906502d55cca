//! Row 54: what another user of this machine makes in a folder that everybody may write to is
//! neither used nor believed, nor is anything removed for it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use kit::{Launch, Need, Output, World, await_until, is_root, tools};

static TWO_USERS: Need = Need::new(|| {
    is_root()?;
    tools(&["setpriv"])
});
kit::tests! {
    TWO_USERS:
        a_folder_of_sockets_that_another_user_made_is_not_used,
        a_folder_that_another_user_exchanges_is_used_as_it_was_opened,
        a_simulated_folder_that_another_user_made_is_not_touched;
}

/// Numbers that no user has.
const USER: u32 = 54_331;
const OTHER: u32 = 54_332;

/// A folder that is removed with all that is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
}

/// Has a program started by a user that is not root.
fn by_user(launch: Launch) -> Output {
    let (user, group) = (format!("--reuid={USER}"), format!("--regid={USER}"));
    let launch = launch.in_folder(Path::new("/")).without_environment();
    launch.under(["setpriv", &*user, &*group, "--clear-groups"]).output()
}

fn a_folder_of_sockets_that_another_user_made_is_not_used() {
    let world = World::new();
    let folder = Folder(PathBuf::from(format!("/tmp/p2pfs-{USER}")));
    let path = folder.0.join("4242.sock");
    let (pid, socket) = ("4242", path.to_str().unwrap());
    let (via_pid, via_socket) = (format!("--via={pid}"), format!("--via={socket}"));
    let forms: [&[&str]; 6] = [
        &["status"],
        &["status", pid],
        &["status", socket],
        &["get", "file", "--via"],
        &["get", "file", &via_pid],
        &["get", "file", &via_socket],
    ];
    let check = |kind: &str| {
        let trap = UnixListener::bind(&path).unwrap();
        trap.set_nonblocking(true).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        for form in forms {
            let told = by_user(world.program(form));
            assert_eq!((told.code, &*told.stdout), (Some(4), ""), "{kind} {form:?}: {told:?}");
            assert!(told.stderr.contains("it belongs to another user, or"), "{kind}: {told:?}");
            assert!(trap.accept().is_err(), "{kind} {form:?}: it was asked");
        }
        fs::remove_file(&path).unwrap();
    };
    fs::create_dir(&folder.0).unwrap();
    give(&folder.0, OTHER);
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    check("a folder of another user");
    give(&folder.0, USER);
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
    check("a folder that all may write to");
    let elsewhere = Folder(PathBuf::from(format!("/tmp/p2pfs-test-{USER}")));
    fs::rename(&folder.0, &elsewhere.0).unwrap();
    fs::set_permissions(&elsewhere.0, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&elsewhere.0, &folder.0).unwrap();
    check("a link");
    fs::remove_file(&folder.0).unwrap();

    // Where anybody can have made it, a program of another user is not believed.
    let trap = UnixListener::bind(elsewhere.0.join("trap")).unwrap();
    give(&elsewhere.0, USER);
    fs::set_permissions(elsewhere.0.join("trap"), fs::Permissions::from_mode(0o666)).unwrap();
    let named = elsewhere.0.join("trap");
    let told = by_user(world.program(&["status", named.to_str().unwrap()]));
    assert!(told.stderr.contains("it belongs to another user"), "{told:?}");
    assert_eq!((told.code, &*told.stdout), (Some(4), ""));
    drop(trap);
}

fn a_simulated_folder_that_another_user_made_is_not_touched() {
    let world = World::new();
    let start = |id: u32| {
        let peer = world.peer(id).launch_simulated();
        await_until("it ends", || {
            assert_eq!(peer.stdout(), [""; 0], "it listens");
            peer.has_ended()
        });
        let code = peer.await_exit_code();
        (code, peer.said())
    };
    world.peer(1).start_simulated().stop();
    let peer = world.path().join("peer-1");
    fs::write(peer.join("file"), b"precious").unwrap();
    for strange in [peer.clone(), peer.join(".p2pfs-simulated")] {
        give(&strange, OTHER);
        let (code, said) = start(1);
        assert!(code == 9 && said.contains("peer-1 was not made by p2pfs"), "{code}: {said}");
        assert_eq!(fs::read(peer.join("file")).unwrap(), b"precious");
        give(&strange, 0);
    }
    let staging = world.folder(".peer-2.p2pfs-new", &[]);
    give(&staging, OTHER);
    let (code, said) = start(2);
    assert!(code == 9 && said.contains(".peer-2.p2pfs-new was not made by p2pfs"), "{said}");
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "no mark is put there");
}

/// The user may write to the folder around it, and exchanges it for a link while it is emptied.
fn a_folder_that_another_user_exchanges_is_used_as_it_was_opened() {
    let world = World::new();
    let (peer, link, home) = ["peer-1", "link", "home"].map(|name| world.path().join(name)).into();
    let _registry = world.registry();
    for round in 0..20 {
        world.folder("home/documents", &[("precious", b"precious")]);
        world.peer(1).start_simulated().stop();
        fs::create_dir_all(peer.join("documents")).unwrap();
        (0..50).for_each(|n| fs::write(peer.join(format!("file {n}")), b"").unwrap());
        symlink(&home, &link).unwrap();
        let launched = world.peer(1).launch_simulated();
        for _ in 0..2000 {
            let _ = rustix::fs::renameat_with(
                rustix::fs::CWD,
                &peer,
                rustix::fs::CWD,
                &link,
                rustix::fs::RenameFlags::EXCHANGE,
            );
        }
        launched.kill();
        let left = fs::read(home.join("documents/precious"));
        assert_eq!(left.unwrap(), b"precious", "round {round}");
        for path in [&peer, &link] {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
    }
}
