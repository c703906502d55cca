//! Many connections from one thread, each from its own address of 127/8.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

/// So many may wait to be accepted before the system lets some try again a second later.
pub(crate) const ACCEPT_QUEUE: usize = 100;

/// A connection from one of the addresses of the loopback, the same for the same number.
pub(crate) fn connect_as(number: usize, to: SocketAddrV4) -> io::Result<TcpStream> {
    connect_with(number, to, None)
}

/// The same with a receive buffer of about this many bytes.
pub(crate) fn connect_narrow(
    number: usize,
    to: SocketAddrV4,
    buffer_bytes: usize,
) -> io::Result<TcpStream> {
    connect_with(number, to, Some(buffer_bytes))
}

fn connect_with(
    number: usize,
    to: SocketAddrV4,
    buffer_bytes: Option<usize>,
) -> io::Result<TcpStream> {
    let number = number as u32;
    // From 127.1.0.1 on, without 0 and 255 at the end.
    let host = number % 250 + 1;
    let from = Ipv4Addr::new(
        127,
        1 + (number / 62_500 % 250) as u8,
        (number / 250 % 250) as u8,
        host as u8,
    );
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    if let Some(buffer_bytes) = buffer_bytes {
        sockopt::set_socket_recv_buffer_size(&socket, buffer_bytes)?;
    }
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// Writes what there is room for, without waiting; nothing if the other side has closed.
pub(crate) fn write_some(mut stream: &TcpStream, bytes: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    let mut left = bytes;
    while let Ok(len @ 1..) = stream.write(left) {
        left = &left[len..];
    }
}

/// Whether the other side has closed, in order or not; takes what came before.
pub(crate) fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}
