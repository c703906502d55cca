//! Groups with a secret: a flood of first messages (row 75), and what a capture shows (row 76).

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use kit::{NOTHING, ReservedPort, World, await_until, content, quantity, reset_on_close};
use p2pfs::proto::Transmit;
use p2pfs::proto::v1::Sealed;
use p2pfs::wire::v1::Secret;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, sockopt};

use crate::crowd::connect_as;
use crate::flood::Flood;
use crate::hosts::{HOSTS, Network};
use crate::turns::{alone, median};

kit::tests! {
    NOTHING: first_messages_leave_the_transfer_of_a_member_half_of_its_rate;
    HOSTS: a_capture_of_all_that_a_member_sends_shows_neither_names_nor_contents;
}

const RATE_KEPT_MIN: f64 = 0.5;
/// Connections of the flood that are open: each is there for long enough to be answered.
const OPEN: usize = 200;

/// Sends first messages from many addresses: every other one is a right one, again and again, and
/// the others are random.
fn flood(to: SocketAddrV4, per_second: usize, right: Vec<u8>) -> Flood {
    let mut open = VecDeque::new();
    let mut wrong = right.clone();
    Flood::start(per_second, move |number| {
        let Ok(mut stream) = connect_as(number as usize, to) else { return };
        reset_on_close(&stream);
        wrong[3..11].copy_from_slice(&number.to_be_bytes());
        let message = if number.is_multiple_of(2) { &right } else { &wrong };
        let _ = stream.write_all(message);
        open.push_back(stream);
        if open.len() > OPEN {
            open.pop_front();
        }
    })
}

fn first_messages_leave_the_transfer_of_a_member_half_of_its_rate() {
    let _turn = alone();
    let world = World::new();
    let made = world.program(&["secret", "--secret-file", "ours"]).output();
    assert_eq!(made.code, Some(0));
    let text = fs::read(world.path().join("ours")).unwrap();
    let sealed = Sealed::dialed(&Secret::parse(&text).unwrap().seal_key());
    let Some(Transmit::Bytes { bytes: right, .. }) = sealed.transmit(false) else { panic!() };

    let mebibytes = quantity("P2PFS_FLOOD_MIB", 128_usize);
    world.folder("ann", &[("file", &content(1, mebibytes << 20))]);
    let ours = ["--secret-file", "ours"];
    let share = world.start(&[&["share", "ann", "--port", "0"][..], &ours].concat());
    let to = SocketAddrV4::new([127, 0, 0, 1].into(), share.await_listening().port());
    let rate = |to: SocketAddrV4| {
        let got = world.path().join("got");
        let _ = fs::remove_dir_all(&got);
        let get = world.get(&[&["file", "--no-sync"][..], &ours].concat());
        get.await_log("file: 1 file");
        let per_second = quantity("P2PFS_FIRST_MESSAGES_PER_SECOND", 1_000);
        let flood = flood(to, per_second, right.to_vec());
        assert_eq!(get.await_exit_code(), 0, "{}", get.said());
        let count = flood.count();
        flood.end();
        let line = get.log().into_iter().find(|line| line.contains("verified")).unwrap();
        let (_, seconds) = line.split_once(" bytes in ").unwrap();
        let (seconds, _) = seconds.split_once(" s,").unwrap();
        println!("{count} first messages in {seconds} s");
        mebibytes as f64 / seconds.parse::<f64>().unwrap().max(0.005)
    };
    // Once for nothing: the file is hashed first.
    let nobody = ReservedPort::new();
    rate(nobody.address);
    let pairs = quantity("P2PFS_FLOOD_PAIRS", 5);
    let mut kept = Vec::new();
    for pair in 0..pairs * 3 {
        if pair >= pairs && median(&kept) >= RATE_KEPT_MIN {
            break;
        }
        let beside = rate(nobody.address);
        kept.push(rate(to) / beside);
    }
    assert!(median(&kept) >= RATE_KEPT_MIN, "the flood takes more than half: {kept:.2?}");
    println!("{kept:.2?} of the rate are kept");
    await_until("it serves others again", || {
        let _ = fs::remove_dir_all(world.path().join("got"));
        world.get(&[&["file"][..], &ours].concat()).await_exit_code() == 0
    });
    share.assert_running();
    share.assert_memory_bounded();
}

/// All frames that pass the interfaces of a host, to and from it.
fn captured(over: &AtomicBool, socket: rustix::fd::OwnedFd) -> Vec<Vec<u8>> {
    let (mut frames, mut buffer) = (Vec::new(), vec![0; 128 * 1024]);
    loop {
        match rustix::net::recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, len)) => frames.push(buffer[..len].to_vec()),
            Err(Errno::AGAIN) if over.load(Ordering::Relaxed) => return frames,
            Err(Errno::AGAIN) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn a_capture_of_all_that_a_member_sends_shows_neither_names_nor_contents() {
    const EVERY_PROTOCOL: u32 = 0x0003_u16.to_be() as u32;
    let (network, [first, second, third]) = Network::lay();
    let made = first.start(&["secret", "--secret-file", "ours"]);
    assert_eq!(made.await_exit_code(), 0);
    let bytes = content(7, 700_000);
    let folder = network.folder().join("mine/name-of-folder");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("name-of-file"), &bytes).unwrap();
    fs::create_dir_all(network.folder().join("got")).unwrap();
    let socket = first.run(|| {
        let protocol = Protocol::from_raw(EVERY_PROTOCOL.try_into().unwrap());
        let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, kind, flags, Some(protocol)).unwrap();
        sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20).unwrap();
        socket
    });
    let over = AtomicBool::new(false);
    let frames = thread::scope(|scope| {
        let capture = scope.spawn(|| captured(&over, socket));
        let share = first.start(&["share", "mine", "--secret-file", "ours"]);
        share.await_listening();
        let get = second.start(&["get", "/", "-o", "got", "--secret-file", "ours"]);
        let code = get.await_exit_code();
        // A host without the secret finds nothing, and gets nothing from its address either.
        let list = third.start(&["list", "--wait", "1s"]);
        let listed = list.await_exit_code();
        let at = first.address.to_string();
        let other = third.start(&["get", "/", "-o", "got", "--peer", &at, "--timeout", "3s"]);
        let fetched = other.await_exit_code();
        over.store(true, Ordering::Relaxed);
        assert_eq!((code, listed, fetched), (0, 3, 4), "{}{}", get.said(), other.said());
        capture.join().unwrap()
    });
    let got = fs::read(network.folder().join("got/name-of-folder/name-of-file")).unwrap();
    assert!(got == bytes);
    let all = frames.concat();
    assert!(all.len() > bytes.len(), "{} bytes were captured", all.len());
    let holds = |part: &[u8]| all.windows(part.len()).any(|window| window == part);
    assert!(holds(b"P2F1"), "beacons are among them");
    let id = blake3::hash(&bytes);
    for part in [b"name-of-folder".as_slice(), b"name-of-file", &bytes[..32], id.as_bytes()] {
        assert!(!holds(part), "{}", String::from_utf8_lossy(part));
    }
}
