//! `p2pfs list`.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::harness::{
    OfferRepeater, Process, ReservedPort, Signal, World, await_some, await_until,
};
use crate::place::{Place, complaint, ends_with, said};

#[test]
fn it_shows_what_is_on_offer_and_from_whom() {
    let place = Place::new();
    let _share = place.share("mine", &[("b c", b""), ("a", b"")]);
    let _other = OfferRepeater::start(&place.world, 7, "a");
    // In a line each, by name and then by peer.
    let rows = || {
        let mut list = place.start(&["list", "--wait", "500ms"]);
        let code = list.await_exit_code();
        assert!(code == 0 || code == 3, "{}", said(&list));
        list.stdout()
    };
    let mut shown = Vec::new();
    await_until("all is on offer", || {
        shown = rows();
        shown.len() == 3
    });
    let names: Vec<_> = shown.iter().map(|row| row.rsplit("  ").next().unwrap()).collect();
    assert_eq!(names, ["a", "a", "b c"]);
    for row in &shown {
        let columns: Vec<_> = row.split_whitespace().collect();
        assert!(columns[0].parse::<u32>().is_ok_and(|peer| peer > 0), "{row}");
        assert!(columns[1].starts_with("127.0.0.1:"), "{row}");
        assert_eq!(columns[3], "ago", "{row}");
    }
    assert!(shown.iter().any(|row| row.trim_start().starts_with("7 ")), "{shown:?}");
}

#[test]
fn a_registry_that_is_named_tells_where_the_peers_listen() {
    let place = Place::new();
    place.folder("mine", &[("file", b"")]);
    let share = place.start(&["share", "mine"]);
    let address = share.await_listening().to_string();
    let registry = place.registry.address.to_string();
    await_until("it is registered", || said(&share).contains("registered at"));
    let mut list = place.start(&["list", "--wait", "1s", "--registry", &registry]);
    assert_eq!(list.await_exit_code(), 0, "{}", said(&list));
    assert_eq!(list.stdout()[0].split_whitespace().nth(1), Some(&*address), "{:?}", list.stdout());
    assert_eq!(list.log(), [""; 0]);

    for format in [&[][..], &["--json"]] {
        let line = [&["list", "--watch", "--registry", &registry], format].concat();
        let watch = place.start(&line);
        let tells_it = |line: &String| line.contains(&address);
        await_until("it is shown", || watch.stdout().iter().any(tells_it));
    }

    // Without one it works all the same, and says so if one was named.
    let nowhere = ReservedPort::new().address.to_string();
    let mut list = place.start(&["list", "--wait", "1s", "--registry", &nowhere]);
    assert_eq!(list.await_exit_code(), 0, "{}", said(&list));
    assert_ne!(list.stdout()[0].split_whitespace().nth(1), Some(&*address), "{:?}", list.stdout());
    let why = format!("warning: no registry at {nowhere}: connection refused; ");
    assert!(list.log().len() == 1 && list.log()[0].starts_with(&why), "{:?}", list.log());
    // Longer than the name system allows, so that nobody is asked.
    let mut list = place.start(&["list", "--registry", &"n".repeat(64)]);
    ends_with(&mut list, 4);
    assert!(complaint(&list).contains("--registry"), "{}", said(&list));
}

#[test]
fn nothing_on_offer_is_3() {
    let place = Place::new();
    let mut list = place.start(&["list", "--wait", "200ms"]);
    ends_with(&mut list, 3);
    assert!(complaint(&list).contains("200ms"), "{}", said(&list));
}

#[test]
fn watching_it_shows_what_comes_and_goes_until_it_is_stopped() {
    let world = World::new();
    let broadcast = world.broadcast().to_string();
    let line = ["list", "--watch", "--broadcast", &broadcast, "--offer-interval", "100ms"];
    let mut list = Process::start("list", world.folder(), &line);
    let offers = OfferRepeater::start(&world, 7, "file");
    await_until("it is shown", || !list.stdout().is_empty());
    drop(offers);
    await_until("it is shown to be gone", || list.stdout().len() == 2);
    let shown = list.stdout();
    let columns: Vec<_> = shown.iter().map(|row| row.split_whitespace().collect()).collect();
    let [offered, gone]: [Vec<_>; 2] = columns.try_into().unwrap();
    assert_eq!((offered[0], offered[1], offered[3]), ("offered", "7", "file"));
    assert_eq!((gone[0], &gone[1..]), ("gone", &offered[1..]));
    list.signal(Signal::INT);
    assert_eq!(list.await_exit_code(), 130);
    assert_eq!(list.log(), [""; 0]);
}

/// Killed at the latest when it is dropped.
struct Listing(Child);

impl Drop for Listing {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watching_ends_soon_after_its_reader_has_left_though_there_is_nothing_to_write() {
    let world = World::new();
    let list = Command::new(env!("CARGO_BIN_EXE_p2pfs"))
        .args(["list", "--watch", "--broadcast", &world.broadcast().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut list = Listing(list.unwrap());
    drop(list.0.stdout.take());
    let status = await_some("it ends", || list.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(8));
    let mut said = String::new();
    list.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("p2pfs: cannot write to stdout: "), "{said}");
}
