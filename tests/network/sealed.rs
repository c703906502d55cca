//! A flood of first messages at a member of a group with a secret (row 75).

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddrV4;

use kit::{ReservedPort, World, await_until, content, quantity, reset_on_close};
use p2pfs::proto::Transmit;
use p2pfs::proto::v1::Sealed;
use p2pfs::wire::v1::Secret;

use crate::crowd::connect_as;
use crate::flood::Flood;
use crate::turns::{alone, median};

kit::tests![first_messages_leave_the_transfer_of_a_member_half_of_its_rate];

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
    let text = std::fs::read(world.path().join("ours")).unwrap();
    let sealed = Sealed::dialed(&Secret::parse(&text).unwrap().seal_key());
    let Some(Transmit::Bytes { bytes: right, .. }) = sealed.transmit(false) else { panic!() };

    let mebibytes = quantity("P2PFS_FLOOD_MIB", 128_usize);
    world.folder("ann", &[("file", &content(1, mebibytes << 20))]);
    let ours = ["--secret-file", "ours"];
    let share = world.start(&[&["share", "ann", "--port", "0"][..], &ours].concat());
    let to = SocketAddrV4::new([127, 0, 0, 1].into(), share.await_listening().port());
    let rate = |to: SocketAddrV4| {
        let got = world.path().join("got");
        let _ = std::fs::remove_dir_all(&got);
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
        let _ = std::fs::remove_dir_all(world.path().join("got"));
        world.get(&[&["file"][..], &ours].concat()).await_exit_code() == 0
    });
    share.assert_running();
    share.assert_memory_bounded();
}
