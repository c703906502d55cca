//! `p2pfs share`.

use std::fs;
use std::os::unix::fs::symlink;

use kit::{Process, World, await_until, content_of};

#[test]
fn it_says_where_it_listens_what_it_offers_and_what_it_skips() {
    let world = World::new();
    let folder = world.folder("mine", &[("a", b"a"), ("b", b"b"), (".hidden", b"x")]);
    // As a peer that died would have left it.
    fs::write(folder.join(".p2pfs-0-0.partial"), b"half").unwrap();
    symlink("a", folder.join("link")).unwrap();
    let before = content_of(&folder);
    let share = world.start(&["share", "mine"]);
    let address = share.await_listening();
    assert!(address.ip().is_loopback() && address.port() > 0);
    await_until("it is registered", || share.has_said("registered at"));
    let said = share.said();
    for part in [
        "sharing 2 files of mine",
        "1 hidden name, .hidden",
        "link: not a regular",
        "`p2pfs get /`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains(&address.to_string()), "{said}");
    // Nothing but the one line for programs, nothing for programs on stderr.
    assert_eq!(share.stdout(), [format!("listening {address}")]);
    assert!(!said.contains("listening 127"), "{said}");
    share.stop();
    assert_eq!(content_of(&folder), before, "nothing is written into the folder");
}

#[test]
fn with_several_interfaces_it_says_each_address() {
    let world = World::new();
    world.folder("mine", &[("a", b"a")]);
    let share = world.start(&["share", "mine", "--interface", "127.0.0.2"]);
    let address = share.await_listening();
    assert!(address.ip().is_unspecified(), "it listens on both");
    await_until("it says more", || share.has_said("only this machine"));
    let port = address.port();
    let each = format!("sharing 1 file of mine at 127.0.0.2:{port} and 127.0.0.1:{port}, with");
    assert!(share.has_said(&each), "{}", share.said());
}

#[test]
fn many_skipped_files_are_counted() {
    let world = World::new();
    let folder = world.folder("mine", &[]);
    for n in 0..25 {
        fs::write(folder.join(format!(".{n}")), b"").unwrap();
        fs::write(folder.join(format!("\t{n}")), b"").unwrap();
        symlink("nowhere", folder.join(format!("link{n}"))).unwrap();
    }
    let share = world.start(&["share", "mine"]);
    await_until("it tells of the rest", || share.has_said("not shared: 15 more"));
    assert_eq!(share.count_in_log("not a regular file but a link"), 10);
    await_until("it tells of each kind", || share.has_said("25 hidden names, such as .0; see"));
    assert_eq!(share.count_in_log("25 names that break the rule for names, such as "), 1);
    assert_eq!(share.count_in_log("not shared"), 13);
}

#[test]
fn several_paths_have_names_and_two_with_one_name_are_refused() {
    let world = World::new();
    let folder = world.folder("mine", &[("a", b"a"), ("b", b"b")]);
    fs::create_dir_all(folder.join("sub/photos")).unwrap();
    world.folder("photos", &[("c", b"c")]);
    let share = world.start(&["share", "photos", "mine/a", "old=mine/sub/photos"]);
    share.await_listening();
    await_until("it says how to fetch", || share.has_said("`p2pfs get a old/ photos/`"));
    assert!(share.has_said("sharing 2 files of photos mine/a mine/sub/photos at"));
    share.stop();
    let twins = world.start(&["share", "photos", "mine/sub/photos"]);
    assert_eq!(twins.await_exit_code(), 2);
    let errors = twins.error_lines();
    let names_both = errors[0].contains("photos and mine/sub/photos would both")
        || errors[0].contains("mine/sub/photos and photos would both");
    assert!(errors.len() == 1 && names_both, "{errors:?}");
}

#[test]
fn without_a_folder_it_shares_the_current_one_even_if_that_cannot_be_written() {
    let world = World::new();
    let folder = world.folder("mine", &[("file", b"x")]);
    let mut permissions = fs::metadata(&folder).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&folder, permissions).unwrap();
    let share = world.command(&["share"]).in_folder(&folder).start();
    share.await_listening();
    await_until("it offers the file", || world.take_offers().iter().any(|(_, n)| n == "file"));
    assert!(share.has_said("sharing 1 file of ."), "{}", share.said());
}

#[test]
fn without_a_registry_it_says_what_to_do_and_goes_on_trying() {
    let world = World::new();
    world.folder("mine", &[]);
    let share = world.command_at(world.registry_address(), &["share", "mine"]).start();
    share.await_listening();
    await_until("it says so", || share.has_said("no registry at"));
    let said_so = share.said();
    assert!(said_so.contains("p2pfs registry") && said_so.contains("--registry"), "{said_so}");
    world.registry();
    await_until("it finds the registry", || share.has_said("registered at"));
    share.assert_running();
}

#[test]
fn two_of_one_folder_get_along() {
    let world = World::new();
    let one = world.share("mine", &[("a", b"a")]);
    let other = world.share("mine", &[]);
    let ids = || {
        let offers = world.take_offers().into_iter();
        offers.map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>()
    };
    let mut heard = std::collections::BTreeSet::new();
    await_until("both offer it", || {
        heard.extend(ids());
        heard.len() == 2
    });
    assert!(!heard.contains(&0), "0 is nobody's id");
    drop((one, other));
}

#[test]
fn a_folder_that_goes_is_told_even_if_nothing_is_in_it() {
    let world = World::new();
    let path = |name| world.path().join(name);
    world.folder("moved", &[("a", b"a")]);
    world.folder("empty", &[]);
    let mut all = Vec::new();
    for line in [&["share", "empty"][..], &["share", "moved"], &["share", "moved", "--json"]] {
        let share = world.start(line);
        await_until("it runs", || share.has_said("registered at"));
        all.push(share);
    }
    fs::remove_dir(path("empty")).unwrap();
    fs::rename(path("moved"), path("elsewhere")).unwrap();
    let told = |share: &Process| share.said().matches("the shared folder is gone").count();
    await_until("each tells it", || all.iter().all(|share| told(share) == 1));
    let events = || all[2].stdout().join("\n").matches(r#""event":"folder_lost""#).count();
    await_until("it is an event", || events() == 1);
    let get = world.get(&["a", "--timeout", "500ms"]);
    assert_eq!(get.await_exit_code(), 3, "it is still offered: {}", get.said());
    all.iter().for_each(Process::assert_running);
}

#[test]
fn a_folder_whose_path_leads_elsewhere_is_told_and_offered_no_more() {
    let world = World::new();
    let path = |name| world.path().join(name);
    world.folder("one", &[("old", b"old")]);
    world.folder("two", &[("new", b"new")]);
    symlink("one", path("current")).unwrap();
    let share = world.start(&["share", "current"]);
    await_until("it runs", || share.has_said("registered at"));
    symlink("two", path("next")).unwrap();
    fs::rename(path("next"), path("current")).unwrap();
    share.await_log("the shared folder is gone: its path leads elsewhere");
    let get = world.get(&["old", "--timeout", "500ms"]);
    assert_eq!(get.await_exit_code(), 3, "it is still offered: {}", get.said());
    share.assert_running();
}

#[test]
fn a_folder_that_is_gone_at_the_start_is_named() {
    let world = World::new();
    let removes_it = ["sh", "-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"", "sh"];
    for arguments in [&["share"][..], &["peer", "--id", "1", "--port", "0", "--dir", "."]] {
        let process = world.program(arguments).under(removes_it).start();
        assert_eq!(process.await_exit_code(), 1, "{arguments:?}: {}", process.said());
        let errors = process.error_lines();
        let names_it = errors.iter().any(|line| line.contains("cannot read "));
        assert!(errors.len() == 1 && names_it, "{arguments:?}: {errors:?}");
    }
}

#[test]
fn what_is_no_folder_and_what_is_no_interface_is_named() {
    let world = World::new();
    for (arguments, named) in [
        (&["share", "missing"][..], "missing"),
        (&["share", ".", "--interface", "no-such-thing"], "no-such-thing"),
        (&["share", ".", "--interface", "203.0.113.9"], "203.0.113.9"),
        (&["share", ".", "--interface", "0.0.0.0"], "0.0.0.0"),
    ] {
        let process = world.program(arguments).start();
        assert_eq!(process.await_exit_code(), 2, "{arguments:?}");
        let errors = process.error_lines();
        assert!(errors.len() == 1 && errors[0].contains(named), "{arguments:?}: {errors:?}");
        assert_eq!(process.stdout(), [""; 0]);
    }
}

#[test]
fn the_loopback_has_a_name_and_a_taken_port_is_named() {
    let world = World::new();
    world.folder("mine", &[]);
    let arguments = ["share", "mine", "--interface", "lo", "--broadcast", "127.255.255.255:9"];
    let registry = world.registry().address.to_string();
    let port = world.registry().address.port().to_string();
    let arguments = [&arguments[..], &["--registry", &registry, "--port", &port]].concat();
    let share = world.program(&arguments).start();
    assert_eq!(share.await_exit_code(), 11, "{}", share.said());
    assert!(share.error_lines()[0].contains(&port));
}
