//! What all commands share: environment variables, texts made from the definition, and
//! an environment in which nothing is there.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use crate::harness::{ReservedPort, World};

fn p2pfs(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_p2pfs"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_variable_counts_unless_the_option_is_given_or_it_is_empty() {
    let (bad, bad_limit) = (("P2PFS_LISTEN", "nonsense"), ("P2PFS_CONNECTIONS_MAX", "many"));
    for variables in [[bad], [bad_limit]] {
        let output = p2pfs(&["registry"], &variables);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(variables[0].1), "{}", stderr(&output));
    }
    for (variable, value, why) in [
        ("P2PFS_TIMEOUT", "soon", "not a time, such as 30s"),
        ("P2PFS_INTERFACE", "lo,0.0.0.0", "could not connect"),
        ("P2PFS_ON_CONFLICT", "ask", "fail, skip"),
        ("P2PFS_VERBOSE", "much", "invalid digit"),
    ] {
        let said = stderr(&p2pfs(&["get", "a"], &[(variable, value)]));
        assert!(said.contains(&format!("for {variable}")) && said.contains(why), "{said}");
        assert!(!said.contains("--timeout"), "{said}");
    }
    let output = p2pfs(&["get", "a", "--timeout=late"], &[("P2PFS_TIMEOUT", "soon")]);
    assert!(stderr(&output).contains("'--timeout <TIME>'"), "{}", stderr(&output));
    // The next thing that is wrong shows that this one no longer counts.
    let output = p2pfs(&["registry", "--listen=also bad"], &[bad]);
    assert!(stderr(&output).contains("also bad"), "{}", stderr(&output));
    let world = World::new();
    let broadcast = ("P2PFS_BROADCAST", &*world.broadcast().to_string());
    let output = p2pfs(&["list", "--wait=50ms"], &[("P2PFS_OFFER_INTERVAL", ""), broadcast]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_command_line_that_cannot_be_read_ends_with_an_event_for_who_wants_events_by_variable() {
    for (json, has_event) in [("1", true), ("yes", true), ("0", false), ("", false)] {
        let output = p2pfs(&["get"], &[("P2PFS_JSON", json)]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.contains(r#""event":"exit","code":2"#), has_event, "{json}: {said}");
    }
}

#[test]
fn a_given_option_wins_over_a_contrary_one_in_the_environment() {
    let line = ["peer", "--id=1", "--port=0", "--initial-folders=x", "--host=192.0.2.77"];
    let variables = [("P2PFS_DIR", "."), ("P2PFS_INTERFACE", "no-such-interface")];
    let output = p2pfs(&line, &variables);
    assert!(stderr(&output).contains("192.0.2.77"), "{}", stderr(&output));
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
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert_eq!(stderr(&output).contains("waiting for"), says_more, "{}", stderr(&output));
    }
    for both in [["-v", "-q"], ["-q", "-v"]] {
        let output = p2pfs(&[&["registry"], &both[..]].concat(), &[]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    }
}

#[test]
fn an_option_that_would_change_nothing_is_refused() {
    let output = p2pfs(&["registry", "--progress-timeout=1s", "--listen=bad"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--progress-timeout"), "{}", stderr(&output));
}

#[test]
fn a_registry_is_at_the_address_of_one_machine() {
    for address in ["0.0.0.0", "255.255.255.255", "239.0.0.1:5000"] {
        let output = p2pfs(&["get", "a", "--timeout=50ms", "--registry", address], &[]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains(address) && said.contains("no machine has that address"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn an_option_is_explained_as_what_it_is_for_the_command() {
    for (command, sends) in [("share", true), ("peer", true), ("get", false), ("list", false)] {
        let output = p2pfs(&[command, "--help"], &[("COLUMNS", "1000")]);
        let text = String::from_utf8(output.stdout).unwrap();
        let parts = ["Send offers to", "Offer each file this often"];
        let shown = parts.map(|part| text.contains(part));
        assert_eq!(shown, [sends; 2], "{text}");
        let shown =
            ["nothing is sent there", "Expect the offers of others"].map(|p| text.contains(p));
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
        (&["man", "json"], ".TH p2pfs-json 5"),
        (&["get", "--help"], "--on-conflict"),
        (&["help"], "doctor"),
        (&["help", "get"], "--on-conflict"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = p2pfs(line, &[]);
        assert_eq!(output.status.code(), Some(0), "{line:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(part), "{line:?}");
        assert_eq!(output.stderr, b"", "{line:?}");
    }
    for line in [["man", "nonsense"], ["help", "nonsense"]] {
        let output = p2pfs(&line, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("nonsense"), "{}", stderr(&output));
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    for asks in ["man", "--help", "--version", "help"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_p2pfs"));
        let full = full.try_clone().unwrap();
        let status = program.arg(asks).stdout(full).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(8), "{asks}");
    }
}

/// No variable at all, stdin closed, a current folder that is gone.
#[test]
fn nothing_around_it_is_needed() {
    let world = World::new();
    let gone = world.folder().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let broadcast = world.broadcast().to_string();
    let script = "exec <&-; rmdir \"$PWD\"; exec \"$0\" \"$@\"";
    let output = Command::new("/bin/sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_p2pfs"), "list", "--wait=50ms"])
        .args(["--broadcast", &broadcast])
        .current_dir(&gone)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}
