//! Hosts find each other by broadcast, whatever else is in the air (rows 2 and 23).

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

use kit::messages::{self, Count};
use kit::{Stop, await_until, content};

use crate::crowd::is_closed;
use crate::hosts::{BROADCAST, HOSTS, Host, Network, OFFER_PORT, REGISTRY, heard};

kit::tests! {
    HOSTS:
        a_file_goes_from_host_to_host_by_the_broadcast_of_the_interface,
        offers_to_all_of_the_world_are_heard_as_the_reference_makes_them,
        lost_and_strange_datagrams_only_delay_the_offers,
        a_pattern_is_complete_where_offers_are_lost_or_said_not_to_be,
        one_address_takes_its_share_of_the_connections_and_no_more;
}

const NAME: &str = "file";
/// It hears no beacons: it fetches by version 0.
const WANTS: [&str; 4] = ["--want", NAME, "--beacon-port", "8002"];

fn a_file_goes_from_host_to_host_by_the_broadcast_of_the_interface() {
    let (_network, [first, second, third]) = Network::begin();
    let file = content(1, 3_000_000);
    let ear = first.ear();
    let source = second.start_source(2, NAME, &file, &[]);
    let downloader = third.start_peer(3, &WANTS);

    downloader.await_only_file(NAME, &file);
    // It offers the file itself now, under its own address.
    await_until("both offer it", || heard(&ear) == Some((2, NAME.into(), second.address)));
    await_until("both offer it", || heard(&ear) == Some((3, NAME.into(), third.address)));
    source.process.assert_running();
}

/// Sends datagrams again and again from one of the hosts while something is awaited.
fn beside_datagrams(socket: &UdpSocket, to: Ipv4Addr, datagrams: &[Vec<u8>], act: impl FnOnce()) {
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            while !stop.sleep(Duration::from_millis(100)) {
                for datagram in datagrams {
                    socket.send_to(datagram, (to, OFFER_PORT)).unwrap();
                }
            }
        });
        // Ends the thread also if the action fails.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        stop.set();
        thread.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn broadcaster(host: &Host) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_broadcast(true).unwrap();
    socket
}

fn offers_to_all_of_the_world_are_heard_as_the_reference_makes_them() {
    let (_network, [_, second, third]) = Network::begin();
    let file = content(1, 100_000);
    // Its own offers go to a port where nobody listens.
    let aside = SocketAddrV4::new(BROADCAST, OFFER_PORT + 1).to_string();
    let _source = second.start_source(2, NAME, &file, &["--broadcast", &aside]);
    let downloader = third.start_peer(3, &WANTS);
    assert!(!downloader.process.has_said("offers"));

    let offers = [messages::offer(2, NAME, Count::Characters)];
    beside_datagrams(&broadcaster(&second), Ipv4Addr::BROADCAST, &offers, || {
        downloader.await_only_file(NAME, &file);
    });
}

fn lost_and_strange_datagrams_only_delay_the_offers() {
    let (_network, [first, second, third]) = Network::begin();
    let file = content(1, 100_000);
    let _source = second.start_source(2, NAME, &file, &[]);
    second.cut_outgoing("udp dport 8000 numgen random mod 100 < 80");

    let offer = messages::offer(2, NAME, Count::Bytes);
    let too_long = [&offer[..], b"x"].concat();
    let strange = [Vec::new(), offer[..72].to_vec(), too_long, vec![0xff; 73], vec![b'O'; 1400]];
    let socket = broadcaster(&first);
    let downloader = third.start_peer(3, &[]);
    beside_datagrams(&socket, BROADCAST, &strange, || {
        await_until("strange datagrams are dropped", || {
            downloader.process.has_said("dropped a datagram")
                && downloader.process.has_said("peer 2 offers")
        });
        let wanting = first.start_peer(4, &WANTS);
        wanting.await_only_file(NAME, &file);
    });
    downloader.process.assert_running();
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "junk was answered");
}

/// Row 40. With 3 of 10 lost, one of some 600 would be wrong.
fn a_pattern_is_complete_where_offers_are_lost_or_said_not_to_be() {
    let (network, [_, second, third]) = Network::begin();
    let [mine, got] = ["mine", "got"].map(|name| network.folder().join(name));
    fs::create_dir_all(&mine).unwrap();
    fs::create_dir_all(&got).unwrap();
    (0..200).for_each(|number| fs::write(mine.join(number.to_string()), b"x").unwrap());
    let registry = REGISTRY.to_string();
    let more = ["--offer-interval", "200ms", "--registry", &registry];
    let _share = second.start(&[&["share", "mine"][..], &more].concat());
    third.cut_incoming("udp dport 8000 numgen random mod 10 < 2");
    let get = third.start(&[&["get", "*", "-o", "got", "--timeout", "60s"][..], &more].concat());
    let code = get.await_exit_code();
    let count = fs::read_dir(&got).unwrap().count();
    assert!(code == 0 && count == 200, "{code} with {count}: {}", get.said());
}

fn one_address_takes_its_share_of_the_connections_and_no_more() {
    let (_network, [first, second, third]) = Network::begin();
    let file = content(1, 100_000);
    let source = second.start_source(2, NAME, &file, &[]);

    for (id, victim) in [(3, source.address), (4, REGISTRY)] {
        let crowd: Vec<_> =
            (0..100).map(|_| third.run(|| TcpStream::connect(victim).unwrap())).collect();
        await_until("those beyond 64 are closed", || {
            crowd.iter().filter(|stream| is_closed(stream)).count() == 36
        });
        // Others do not suffer from it.
        let downloader = first.start_peer(id, &WANTS);
        downloader.await_only_file(NAME, &file);
        // At a peer its connection may take the place of one that has said nothing.
        let left = crowd.iter().filter(|stream| !is_closed(stream)).count();
        assert!((63..=64).contains(&left), "{left} are left");
        // And a place that is free again can be taken.
        drop(crowd);
        await_until("there is room again", || {
            let stream = third.run(|| TcpStream::connect(victim).unwrap());
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            (&stream).read(&mut [0]).is_err_and(|error| kit::is_timeout(&error))
        });
    }
}
