use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};

use crate::{DEADLINE, Process};

/// What a catalog says of one path: an empty folder has nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub size_bytes: u64,
    pub is_executable: bool,
    /// `None` while it is not hashed.
    pub id: Option<[u8; 32]>,
}

/// A peer of version 1, made by hand.
pub struct Lister {
    stream: TcpStream,
    req: u32,
}

impl Lister {
    pub fn connect(to: SocketAddrV4) -> Self {
        let mut session = Self { stream: TcpStream::connect(to).unwrap(), req: 0 };
        session.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let hello = [&b"p2pfs\x01"[..], &7_u32.to_be_bytes(), &9_u64.to_be_bytes(), &[0]].concat();
        session.send(b'H', &hello);
        assert_eq!(session.receive().0, b'H');
        session
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let head = [&[kind][..], &(body.len() as u32).to_be_bytes()].concat();
        self.stream.write_all(&[&head, body].concat()).unwrap();
    }

    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).unwrap();
        let len_bytes = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; len_bytes as usize];
        self.stream.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    fn next_req(&mut self) -> [u8; 4] {
        self.req += 1;
        self.req.to_be_bytes()
    }

    /// Lists all there is, without waiting for hashes.
    pub fn list(&mut self) -> BTreeMap<String, Option<Listed>> {
        let req = self.next_req();
        self.send(b'L', &[&req[..], &[0; 8], &[0], &[0, 0]].concat());
        let mut listed = BTreeMap::new();
        loop {
            let (kind, body) = self.receive();
            assert_eq!((kind, &body[..4]), (b'l', &req[..]));
            let (flags, mut rest) = (body[12], &body[15..]);
            while !rest.is_empty() {
                let (path, entry);
                (path, entry, rest) = read_entry(rest);
                match entry {
                    Some(entry) => _ = listed.insert(path, entry),
                    None => _ = listed.remove(&path),
                }
            }
            if flags & 1 != 0 {
                return listed;
            }
        }
    }

    /// Gets a content of one block.
    pub fn get(&mut self, listed: &Listed) -> Vec<u8> {
        let req = self.next_req();
        let (id, size) = (listed.id.unwrap(), listed.size_bytes);
        let get = [&req[..], &[0; 4], &id, &size.to_be_bytes(), &[0; 4], &[0, 0, 0, 1]].concat();
        self.send(b'G', &get);
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let (kind, body) = self.receive();
            assert_eq!((kind, &body[..4]), (b'D', &req[..]));
            bytes.extend_from_slice(&body[4..]);
        }
        bytes
    }
}

/// Reads an entry: its path and what it says, unless it is removed; and what is left.
fn read_entry(bytes: &[u8]) -> (String, Option<Option<Listed>>, &[u8]) {
    let (flags, path_bytes) = (bytes[0], u16::from_be_bytes([bytes[1], bytes[2]]).into());
    let (path, rest) = bytes[3..].split_at(path_bytes);
    let path = String::from_utf8(path.to_vec()).unwrap();
    if flags & (1 | 8) != 0 {
        return (path, (flags & 1 == 0).then_some(None), rest);
    }
    let size_bytes = u64::from_be_bytes(rest[..8].try_into().unwrap());
    let (id, rest) = match flags & 4 {
        0 => (Some(rest[16..48].try_into().unwrap()), &rest[48..]),
        _ => (None, &rest[24..]),
    };
    (path, Some(Some(Listed { size_bytes, is_executable: flags & 2 != 0, id })), rest)
}

/// Returns all that a program lists by now.
pub fn list(share: &Process) -> BTreeMap<String, Option<Listed>> {
    Lister::connect(share.await_listening()).list()
}
