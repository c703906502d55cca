//! Surroundings in which little is there: streams that are closed or full. More of them are in
//! `tests/network/surroundings.rs`.

use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;

use crate::harness::{Process, ReservedPort, Signal, World, await_until};
use crate::place::command_line;

#[test]
fn streams_that_are_closed_or_full_change_nothing_but_what_is_printed() {
    // What a program that is for its output ends with: a closed stdout wants nothing.
    for (streams, printed) in [("<&- >&- 2>&-", 0), (">/dev/full 2>/dev/full", 8)] {
        let world = World::new();
        let start = |arguments: &[OsString]| {
            let script = format!("exec \"$0\" \"$@\" {streams}");
            let launcher = ["sh", "-c", &script].map(OsString::from);
            Process::start_under(&launcher, "p2pfs", world.folder(), arguments)
        };
        let reserved = ReservedPort::new();
        let listen = reserved.address.to_string();
        let mut registry = start(&["registry", "--listen", &listen].map(OsString::from));
        await_until("the registry listens", || TcpStream::connect(reserved.address).is_ok());
        fs::create_dir(world.folder().join("shared")).unwrap();
        fs::create_dir(world.folder().join("got")).unwrap();
        fs::write(world.folder().join("shared/file"), b"content").unwrap();
        let line = |arguments: &[&str]| command_line(&world, reserved.address, arguments);
        let mut share = start(&line(&["share", "shared"]));
        await_until("the file is offered", || !world.take_offers().is_empty());

        for (arguments, code) in [
            (&["get", "file", "-o", "got"][..], 0),
            (&["doctor"], 0),
            (&["doctor", "--json"], 0),
            (&["list"], printed),
            (&["get", "missing", "--timeout=50ms"], 3),
        ] {
            let mut process = start(&line(arguments));
            assert_eq!(process.await_exit_code(), code, "{arguments:?} {streams}");
        }
        assert_eq!(fs::read(world.folder().join("got/file")).unwrap(), b"content");
        for (command, code) in [("man", printed), ("--version", printed), ("nonsense", 2)] {
            let mut process = start(&[command.into()]);
            assert_eq!(process.await_exit_code(), code, "{command} {streams}");
        }
        for process in [&mut share, &mut registry] {
            process.signal(Signal::TERM);
            assert_eq!(process.await_exit_code(), 143, "{streams}");
        }
    }
}
