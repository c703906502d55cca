//! Surroundings in which little is there: streams that are closed or full. More of them are in
//! `tests/network/surroundings.rs`.

use std::net::TcpStream;

use kit::{Launch, ReservedPort, World, await_until};

#[test]
fn streams_that_are_closed_or_full_change_nothing_but_what_is_printed() {
    // What a program that is for its output ends with: a closed stdout wants nothing.
    for (streams, printed) in [("<&- >&- 2>&-", 0), (">/dev/full 2>/dev/full", 8)] {
        let world = World::new();
        let script = format!("exec \"$0\" \"$@\" {streams}");
        let start = |launch: Launch| launch.under(["sh", "-c", &script]).start();
        let reserved = ReservedPort::new();
        let listen = reserved.address.to_string();
        let registry = start(world.program(&["registry", "--listen", &listen]));
        await_until("the registry listens", || TcpStream::connect(reserved.address).is_ok());
        world.folder("shared", &[("file", b"content")]);
        world.folder("got", &[]);
        let command = |arguments: &[&str]| world.command_at(reserved.address, arguments);
        let share = start(command(&["share", "shared"]));
        await_until("the file is offered", || !world.take_offers().is_empty());

        for (arguments, code) in [
            (&["get", "file", "-o", "got"][..], 0),
            (&["doctor"], 0),
            (&["doctor", "--json"], 0),
            (&["list"], printed),
            (&["get", "missing", "--timeout=50ms"], 3),
        ] {
            let process = start(command(arguments));
            assert_eq!(process.await_exit_code(), code, "{arguments:?} {streams}");
        }
        assert_eq!(world.got()["file"], b"content");
        for (command, code) in [("man", printed), ("--version", printed), ("nonsense", 2)] {
            let process = start(world.program(&[command]));
            assert_eq!(process.await_exit_code(), code, "{command} {streams}");
        }
        for process in [&share, &registry] {
            process.stop();
        }
    }
}
