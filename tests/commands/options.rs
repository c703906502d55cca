//! What all commands share: environment variables, texts made from the definition, and
//! an environment in which nothing is there.

use std::fs::File;
use std::path::Path;

use kit::{AtTerminal, Launch, Output, ReservedPort, World};

fn p2pfs(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let launch = Launch::new(Path::new("."), arguments).without_environment();
    variables.iter().fold(launch, |launch, (name, value)| launch.env(name, *value)).output()
}

#[test]
fn a_variable_counts_unless_the_option_is_given_or_it_is_empty() {
    let (bad, bad_limit) = (("P2PFS_LISTEN", "nonsense"), ("P2PFS_CONNECTIONS_MAX", "many"));
    for variables in [[bad], [bad_limit]] {
        let output = p2pfs(&["registry"], &variables);
        assert_eq!(output.code, Some(2));
        assert!(output.stderr.contains(variables[0].1), "{}", output.stderr);
    }
    for (variable, value, why) in [
        ("P2PFS_TIMEOUT", "soon", "not a time, such as 30s"),
        ("P2PFS_INTERFACE", "lo,0.0.0.0", "could not connect"),
        ("P2PFS_ON_CONFLICT", "ask", "fail, skip"),
        ("P2PFS_VERBOSE", "much", "invalid digit"),
    ] {
        let said = p2pfs(&["get", "a"], &[(variable, value)]).stderr;
        assert!(said.contains(&format!("for {variable}")) && said.contains(why), "{said}");
        assert!(!said.contains("--timeout"), "{said}");
    }
    let output = p2pfs(&["get", "a", "--timeout=late"], &[("P2PFS_TIMEOUT", "soon")]);
    assert!(output.stderr.contains("'--timeout <TIME>'"), "{}", output.stderr);
    // The next thing that is wrong shows that this one no longer counts.
    let output = p2pfs(&["registry", "--listen=also bad"], &[bad]);
    assert!(output.stderr.contains("also bad"), "{}", output.stderr);
    let world = World::new();
    let broadcast = ("P2PFS_BROADCAST", &*world.broadcast().to_string());
    let output = p2pfs(&["list", "--wait=50ms"], &[("P2PFS_OFFER_INTERVAL", ""), broadcast]);
    assert_eq!(output.code, Some(3), "{}", output.stderr);
}

/// Kubernetes and Docker set such variables beside a service that is called p2pfs.
#[test]
fn what_a_container_platform_sets_is_ignored_and_told() {
    let world = World::new();
    world.folder("mine", &[("file", b"content")]);
    let address = "tcp://10.43.1.2:5000";
    let variables = [
        ("P2PFS_PORT", address),
        ("P2PFS_SERVICE_HOST", "10.43.1.2"),
        ("P2PFS_SERVICE_PORT", "5000"),
        ("P2PFS_PORT_5000_TCP", address),
        ("P2PFS_PORT_5000_TCP_ADDR", "10.43.1.2"),
        ("P2PFS_NAME", "/web/p2pfs"),
        ("P2PFS_REGISTRY_PORT", address),
    ];
    let share = world.command(&["share", "mine"]);
    let share =
        variables.iter().fold(share, |share, (name, value)| share.env(name, *value)).start();
    share.await_listening();
    share.await_log("registered at");
    assert_eq!(share.count_in_log("P2PFS_"), 2, "{}", share.said());
    for (variable, option) in [("P2PFS_PORT", "--port"), ("P2PFS_NAME", "--name")] {
        let warning =
            format!("warning: {variable} is ignored: a container platform set it; use {option}");
        assert!(share.has_said(&warning), "{}", share.said());
    }
    // It is no option of this command.
    let list = world.command(&["list", "-q", "--wait=500ms"]).env("P2PFS_PORT", address).output();
    assert_eq!((list.code, &*list.stderr), (Some(0), ""));
    // A mistake of the user stays one.
    let wrong = world.command(&["share", "mine"]).env("P2PFS_PORT", "many").output();
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn a_command_line_that_cannot_be_read_ends_with_an_event_for_who_wants_events_by_variable() {
    for (json, has_event) in [("1", true), ("yes", true), ("0", false), ("", false)] {
        let output = p2pfs(&["get"], &[("P2PFS_JSON", json)]);
        assert_eq!(output.code, Some(2), "{}", output.stderr);
        let said = output.stdout;
        assert_eq!(said.contains(r#""event":"exit","code":2"#), has_event, "{json}: {said}");
    }
}

#[test]
fn a_given_option_wins_over_a_contrary_one_in_the_environment() {
    let line = ["peer", "--id=1", "--port=0", "--initial-folders=x", "--host=192.0.2.77"];
    let variables = [("P2PFS_DIR", "."), ("P2PFS_INTERFACE", "no-such-interface")];
    let output = p2pfs(&line, &variables);
    assert!(output.stderr.contains("192.0.2.77"), "{}", output.stderr);
    let (world, port) = (World::new(), ReservedPort::new());
    let [broadcast, registry] = [world.broadcast(), port.address].map(|at| at.to_string());
    let variables = [("P2PFS_BROADCAST", &*broadcast), ("P2PFS_REGISTRY", &registry)];
    for (quiet, verbose, line, says_more) in [
        ("yes", "", &["get", "file", "--timeout=100ms"][..], false),
        ("yes", "", &["get", "file", "--timeout=100ms", "-v"], true),
        ("", "1", &["get", "file", "--timeout=100ms", "-q"], false),
    ] {
        let more = [("P2PFS_QUIET", quiet), ("P2PFS_VERBOSE", verbose)];
        let output = p2pfs(line, &[&variables[..], &more].concat());
        assert_eq!(output.code, Some(4), "{}", output.stderr);
        assert_eq!(output.stderr.contains("warning: "), says_more, "{}", output.stderr);
    }
    for both in [["-v", "-q"], ["-q", "-v"]] {
        let output = p2pfs(&[&["registry"], &both[..]].concat(), &[]);
        assert_eq!(output.code, Some(2), "{}", output.stderr);
    }
}

#[test]
fn an_option_that_would_change_nothing_is_refused() {
    let output = p2pfs(&["registry", "--progress-timeout=1s", "--listen=bad"], &[]);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("--progress-timeout"), "{}", output.stderr);
}

#[test]
fn a_registry_is_at_the_address_of_one_machine() {
    for address in ["0.0.0.0", "255.255.255.255", "239.0.0.1:5000"] {
        let output = p2pfs(&["get", "a", "--timeout=50ms", "--registry", address], &[]);
        assert_eq!(output.code, Some(2), "{}", output.stderr);
        let said = output.stderr;
        assert!(said.contains(address) && said.contains("no machine has that address"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn an_option_is_explained_as_what_it_is_for_the_command() {
    for (command, sends) in [("share", true), ("peer", true), ("get", false), ("list", false)] {
        let output = p2pfs(&[command, "--help"], &[("COLUMNS", "1000")]);
        let text = output.stdout;
        let parts = ["Send offers and beacons to", "Offer each file this often"];
        let shown = parts.map(|part| text.contains(part));
        assert_eq!(shown, [sends; 2], "{text}");
        let shown = ["only beacons are sent there", "Expect the offers of others"]
            .map(|p| text.contains(p));
        assert_eq!(shown, [!sends; 2], "{text}");
    }
}

#[test]
fn completions_and_the_manual_page_go_to_stdout() {
    for (line, part) in [
        (&["completions", "bash"][..], "--on-conflict"),
        (&["completions", "zsh"], "--on-conflict"),
        (&["completions", "fish"], "on-conflict"),
        (&["man"], ".TH p2pfs"),
        (&["man", "get"], "on\\-conflict"),
        (&["man", "p2pfs"], ".TH p2pfs 1"),
        (&["man", "list"], concat!("\"p2pfs ", env!("CARGO_PKG_VERSION"))),
        (&["man", "json"], ".TH p2pfs-json 5"),
        (&["get", "--help"], "--on-conflict"),
        (&["help"], "doctor"),
        (&["help", "get"], "--on-conflict"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = p2pfs(line, &[]);
        assert_eq!(output.code, Some(0), "{line:?}");
        assert!(output.stdout.contains(part), "{line:?}");
        assert_eq!(output.stderr, "", "{line:?}");
    }
    for line in [["man", "nonsense"], ["help", "nonsense"]] {
        let output = p2pfs(&line, &[]);
        assert_eq!(output.code, Some(2));
        assert!(output.stderr.contains("nonsense"), "{}", output.stderr);
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    for asks in ["man", "--help", "--version", "help"] {
        let full = full.try_clone().unwrap();
        let output = Launch::new(Path::new("."), &[asks]).stdout(full).output();
        assert_eq!(output.code, Some(8), "{asks}");
    }
}

#[test]
fn a_manual_page_is_no_text_for_a_terminal() {
    let at = AtTerminal::start(24, 120, Launch::new(Path::new("."), &["man", "get"]));
    let (lines, _) = at.await_end(2);
    let said = lines.join(" ");
    assert!(said.contains("`p2pfs man get | man -l -`") && !said.contains(".TH"), "{said}");
}

/// No variable at all, stdin closed, a current folder that is gone.
#[test]
fn nothing_around_it_is_needed() {
    let world = World::new();
    let gone = world.folder("gone", &[]);
    let script = "exec <&-; rmdir \"$PWD\"; exec \"$0\" \"$@\"";
    let list = world.command(&["list", "--wait=50ms"]).in_folder(&gone).without_environment();
    let output = list.under(["/bin/sh", "-c", script]).output();
    assert_eq!(output.code, Some(3), "{}", output.stderr);
}

#[test]
fn every_place_that_is_used_is_printed() {
    let world = World::new();
    let place = |variable: &str| world.path().join(variable).display().to_string();
    let paths = |arguments: &[&str]| {
        let launch = world.program(&[&["paths"], arguments].concat());
        let launch = launch.env("XDG_CACHE_HOME", place("cache")).env("TMPDIR", place("tmp"));
        let output = launch.output();
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        output.stdout
    };
    let (text, json) = (paths(&[]), paths(&["--json"]));
    let sockets = world.path().join("p2pfs").display().to_string();
    let folders = [format!("{}/p2pfs", place("cache")), sockets, place("tmp")];
    let ports = ["UDP 8000", "UDP 8001", "TCP 8001", "TCP 5000"].map(str::to_owned);
    for place in folders.iter().chain(&ports) {
        assert!(text.contains(place) && json.contains(place), "{place}: {text}{json}");
    }
}
