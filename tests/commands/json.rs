//! `--json` of the commands for every day; what each event looks like is in the tests of
//! processes.

use kit::{Process, Signal, World, await_until};
use serde_json::Value;

fn events(process: &Process) -> Vec<Value> {
    process.stdout().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn find(process: &Process, event: &str) -> Value {
    let found = events(process).into_iter().find(|found| found["event"] == event);
    found.unwrap_or_else(|| panic!("no {event} in {:#?}", process.stdout()))
}

#[test]
fn share_tells_what_it_shares_and_what_it_skips_and_why() {
    let world = World::new();
    let folder = world.folder("mine", &[("a", b"a"), ("b", b"b"), (".hidden", b"x")]);
    let share = world.start(&["share", "mine", "--json"]);
    let told = |name: &str| {
        let of = |event: &Value| event["event"] == "file_skipped" && event["name"] == name;
        events(&share).into_iter().find(of)
    };
    await_until("what is skipped", || told(".hidden").is_some());
    assert_eq!(events(&share)[0]["event"], "listening");
    let sharing = find(&share, "sharing");
    assert_eq!((&sharing["folder"], &sharing["files"]), (&"mine".into(), &2.into()));
    assert_eq!(sharing["skipped"], 1);
    assert_eq!(told(".hidden").unwrap()["reason"], "the name begins with a dot");
    // And what comes later.
    std::fs::write(folder.join("a\u{1b}b"), b"x").unwrap();
    await_until("it is skipped", || told("a\u{1b}b").is_some());
}

#[test]
fn get_tells_of_each_file_and_of_its_end() {
    let world = World::new();
    let _share = world.share("mine", &[("file", b"content")]);
    let get = world.get(&["file", "--json"]);
    assert_eq!(get.await_exit_code(), 0);
    assert_eq!(find(&get, "verified")["bytes"], 7);
    assert_eq!(find(&get, "exit")["code"], 0);

    let get = world.get(&["f*", "never", "--json", "--timeout", "2s"]);
    assert_eq!(get.await_exit_code(), 10);
    assert_eq!(find(&get, "identical")["name"], "file");
    assert_eq!(find(&get, "failed")["name"], "never");
    assert_eq!((&find(&get, "exit")["code"], get.error_lines().len()), (&10.into(), 1));

    for wrong in [&["--no-such-option"][..], &["--timeout", "soon"], &["-o", "-"]] {
        let get = world.start(&[&["get", "file", "--json"], wrong].concat());
        assert_eq!(get.await_exit_code(), 2);
        assert_eq!(find(&get, "exit")["code"], 2);
    }
}

#[test]
fn list_tells_what_is_on_offer_and_what_is_no_longer() {
    let world = World::new();
    let share = world.share("mine", &[("file", b"content")]);
    let list = world.start(&["list", "--wait", "1s", "--json"]);
    assert_eq!(list.await_exit_code(), 0);
    let offer = find(&list, "offer");
    assert_eq!(offer["name"], "file");
    assert!(offer["heard_ago"].is_f64() && offer["address"].is_string(), "{offer}");
    assert!(offer["listens_at"].is_null(), "{offer}");
    let registry = world.registry().address.to_string();
    let line = ["list", "--wait", "1s", "--json", "--registry", &registry];
    let list = world.start(&line);
    assert_eq!(list.await_exit_code(), 0);
    let address = share.await_listening().to_string();
    assert_eq!(find(&list, "offer")["listens_at"], address);

    let watch = world.start(&["list", "--json", "--watch"]);
    let heard = |event: &str| events(&watch).iter().any(|found| found["event"] == event);
    await_until("the offer is heard", || heard("offer"));
    share.signal(Signal::TERM);
    share.await_exit_code();
    await_until("the offer is gone", || heard("offer_gone"));
    watch.stop();
}
