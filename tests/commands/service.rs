//! What a service manager is told: that a program is ready, and that it ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use kit::{DEADLINE, Process, Signal, World};

/// Starts a command of this world under a service manager that listens there.
fn start(world: &World, manager: &str, arguments: &[&str]) -> Process {
    let line = match arguments[0] {
        "registry" => world.program(arguments),
        _ => world.command_at(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9), arguments),
    };
    line.env("NOTIFY_SOCKET", manager).start()
}

fn told(manager: &UnixDatagram) -> io::Result<String> {
    let mut state = [0; 64];
    let len = manager.recv(&mut state)?;
    Ok(String::from_utf8(state[..len].to_vec()).unwrap())
}

#[test]
fn a_manager_is_told_when_it_is_ready_and_when_it_ends() {
    let world = World::new();
    world.folder("shared", &[]);
    let path = world.path().join("manager");
    let name = format!("p2pfs-test-{}", std::process::id());
    let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
    let managers = [
        (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
        (format!("@{name}"), UnixDatagram::bind_addr(&abstract_address).unwrap()),
    ];
    for (address, manager) in &managers {
        manager.set_read_timeout(Some(DEADLINE)).unwrap();
        for (arguments, signal, code) in [
            (&["registry", "--listen", "127.0.0.1:0"][..], Signal::TERM, 143),
            (&["share", "shared"], Signal::INT, 130),
            (&["peer", "--id=1", "--port=0", "--dir=shared"], Signal::TERM, 143),
        ] {
            let process = start(&world, address, arguments);
            assert_eq!(told(manager).unwrap(), "READY=1");
            // It was not told too early.
            process.await_listening();
            process.signal(signal);
            assert_eq!(told(manager).unwrap(), "STOPPING=1");
            assert_eq!(process.await_exit_code(), code);
        }
    }
}

#[test]
fn a_manager_that_is_not_there_is_no_reason_to_stop() {
    let world = World::new();
    for address in ["/nonexistent/socket", "@nobody-listens-here", "", "@", "relative"] {
        let process = start(&world, address, &["registry", "--listen", "127.0.0.1:0"]);
        process.await_listening();
        process.stop();
    }
}
