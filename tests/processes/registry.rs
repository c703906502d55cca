//! Our registry, asked by clients that speak the protocol by hand, some of them
//! badly.

use std::thread;

use kit::messages;
use kit::{Answer, ReservedPort, World, await_until, content};

/// More than one turn of the loop takes in.
#[test]
fn a_thousand_clients_at_once_are_all_served() {
    let world = World::new();
    let registry = world.registry();
    registry.process.pause();
    let clients: Vec<_> = (0..1000).map(|_| registry.client()).collect();
    registry.process.resume();
    for mut client in clients {
        assert_eq!(client.lookup(1), Answer::not_found());
    }
}

#[test]
fn registers_and_answers_lookups_with_the_address_seen() {
    let world = World::new();
    let mut client = world.client();
    let mut other = world.client();

    // A lookup needs no registration.
    assert_eq!(other.lookup(0), Answer::not_found());
    assert_eq!(client.register(0, 65_535), Answer::Registered(1));
    assert_eq!(other.register(u32::MAX, 1), Answer::Registered(1));
    assert_eq!(other.lookup(0), Answer::Address("127.0.0.1".into(), 65_535));
    assert_eq!(client.lookup(u32::MAX), Answer::Address("127.0.0.1".into(), 1));
    assert_eq!(client.lookup(0), Answer::Address("127.0.0.1".into(), 65_535));
}

#[test]
fn refuses_an_id_and_a_port_that_another_holds() {
    let world = World::new();
    let _holder = world.registered(1, 4001);

    let mut second = world.client();
    assert_eq!(second.register(1, 4002), Answer::error("Existing peer ID"));
    let mut third = world.client();
    assert_eq!(third.register(3, 4001), Answer::error("Existing port"));
    drop(second);
    third.reset();
    // The refused ones took nothing with them.
    let mut client = world.client();
    assert_eq!(client.lookup(1), Answer::Address("127.0.0.1".into(), 4001));
    assert_eq!(client.lookup(3), Answer::not_found());
}

#[test]
fn an_entry_goes_with_its_connection_however_it_ends() {
    let world = World::new();
    let mut witness = world.client();
    for reset in [false, true] {
        let client = world.registered(1, 4001);
        assert!(matches!(witness.lookup(1), Answer::Address(..)));
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        await_until("the entry is gone", || witness.lookup(1) == Answer::not_found());
    }
}

#[test]
fn answers_several_requests_at_once_in_their_order() {
    let world = World::new();
    let mut client = world.client();
    let requests = [
        messages::lookup_request(1),
        messages::register_request(1, 4001),
        messages::lookup_request(1),
        messages::lookup_request(2),
    ];
    client.send(&requests.concat());

    assert_eq!(client.answer(), Answer::not_found());
    assert_eq!(client.answer(), Answer::Registered(1));
    assert_eq!(client.answer(), Answer::Address("127.0.0.1".into(), 4001));
    assert_eq!(client.answer(), Answer::not_found());
}

#[test]
fn ten_thousand_requests_at_once_get_ten_thousand_answers() {
    let world = World::new();
    let mut client = world.registered(1, 4001);
    let mut sender = client.another_end();
    let sending = thread::spawn(move || sender.send(&messages::lookup_request(1).repeat(10_000)));

    for _ in 0..10_000 {
        assert_eq!(client.answer(), Answer::Address("127.0.0.1".into(), 4001));
    }
    sending.join().unwrap();
}

#[test]
fn takes_requests_cut_at_every_byte() {
    let world = World::new();
    let mut witness = world.client();
    let requests = [messages::register_request(1, 4001), messages::lookup_request(1)].concat();
    for cut in 1..requests.len() {
        let mut client = world.client();
        client.send(&requests[..cut]);
        // Once the witness has its answer, the first part was seen, too.
        assert_eq!(witness.lookup(2), Answer::not_found());
        client.send(&requests[cut..]);
        assert_eq!(client.answer(), Answer::Registered(1), "cut at {cut}");
        assert_eq!(client.answer(), Answer::Address("127.0.0.1".into(), 4001), "cut at {cut}");
        drop(client);
        await_until("the entry is gone", || witness.lookup(1) == Answer::not_found());
    }
}

#[test]
fn drops_a_client_that_sends_garbage_and_no_other() {
    let world = World::new();
    let mut good = world.registered(1, 4001);
    let noise = content(7, 1 << 20);
    let garbage: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"R\0\0\0\x01x",
        b"SX\0\0\0\x01",
        &messages::error_response("garbage"),
        &messages::register_request(2, 0),
        &messages::register_request(2, 65_536),
        &noise,
    ];
    for bytes in garbage {
        let mut bad = world.client();
        bad.send(bytes);
        assert_eq!(bad.answer(), Answer::Closed, "after {:?}", &bytes[..bytes.len().min(20)]);
        assert_eq!(good.lookup(1), Answer::Address("127.0.0.1".into(), 4001));
        assert_eq!(good.lookup(2), Answer::not_found());
    }
    world.registry().process.assert_running();
    // Each was logged, with its address.
    let closed = |line: &&String| line.contains("closed the connection from 127.0.0.1:");
    assert_eq!(world.registry().process.log().iter().filter(closed).count(), garbage.len());
}

#[test]
fn an_entry_goes_with_a_client_that_sends_garbage_later() {
    let world = World::new();
    let mut bad = world.registered(1, 4001);
    bad.send(b"garbage");
    assert_eq!(bad.answer(), Answer::Closed);

    let mut witness = world.client();
    await_until("the entry is gone", || witness.lookup(1) == Answer::not_found());
}

#[test]
fn serves_five_hundred_clients_at_once() {
    let world = World::new();
    let mut clients = Vec::new();
    for id in 0..500 {
        let mut client = world.client();
        assert_eq!(client.register(id, 10_000 + id), Answer::Registered(1));
        clients.push(client);
    }
    for (id, client) in clients.iter_mut().enumerate() {
        let next = (id as u32 + 1) % 500;
        assert_eq!(client.lookup(next), Answer::Address("127.0.0.1".into(), 10_000 + next));
    }
}

#[test]
fn a_peer_with_an_id_that_is_taken_is_told_and_exits() {
    let world = World::new();
    let file = content(1, 10_000);
    let holder = world.peer(1).has("file", &file).start();
    let mut client = world.client();
    await_until("the holder is entered", || client.knows(1, holder.address));

    let second = world.peer(1).option("--offer-interval", "1h");
    let second = second.launch();
    assert_eq!(second.await_exit_code(), 7);
    assert_eq!(second.error_lines().len(), 1, "{:?}", second.log());
    // The first notices nothing.
    assert_eq!(client.lookup(1), Answer::address(holder.address));
    holder.process.assert_running();
    let downloader = world.peer(2).wants("file").start();
    downloader.await_file("file", &file);
}

#[test]
fn a_peer_with_a_port_that_is_taken_at_the_registry_is_told_and_exits() {
    let world = World::new();
    let port = ReservedPort::new();
    let mut holder = world.client();
    let taken = port.address.port();
    assert_eq!(holder.register(1, taken.into()), Answer::Registered(1));

    let peer = world.peer(2).option("--port", taken.to_string());
    let peer = peer.launch();
    assert_eq!(peer.await_exit_code(), 7);
    assert_eq!(peer.error_lines().len(), 1, "{:?}", peer.log());
}
