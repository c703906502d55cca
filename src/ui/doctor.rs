//! The events of `doctor --json`.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::events::field;
use super::json::{Field, FieldKind, Kind, Value, line};
use crate::exit::ExitCode;

const OK: Field = field("ok", FieldKind::Flag, "whether it is as it should be");
const ERROR: Field = field("error", FieldKind::TextOrNull, "why it is not, for people");
const OFFERS: Field = field("offers", FieldKind::Number, "offers heard");
const CONNECTED_US: Field =
    field("connected_us", FieldKind::NumberOrNull, "microseconds that connecting took");

pub(super) const OFFER_PORT: Kind = Kind {
    name: "offer_port",
    what: "doctor: whether the port of offers can be shared",
    fields: &[field("port", FieldKind::Number, "the UDP port"), OK, ERROR],
};
pub(super) const REGISTRY: Kind = Kind {
    name: "registry",
    what: "doctor: whether the registry answers",
    fields: &[
        field("registry", FieldKind::Text, "HOST:PORT"),
        OK,
        CONNECTED_US,
        field("answered_us", FieldKind::NumberOrNull, "microseconds until a lookup was answered"),
        ERROR,
    ],
};
pub(super) const INTERFACE: Kind = Kind {
    name: "interface",
    what: "doctor: an address of this machine; ok if an own broadcast came back",
    fields: &[
        field("name", FieldKind::Text, "the interface"),
        field("address", FieldKind::Text, "its address"),
        field("prefix_length", FieldKind::Number, "bits of it that are those of its network"),
        field("broadcast", FieldKind::TextOrNull, "its broadcast address"),
        field("up", FieldKind::Flag, "whether it is switched on and connected"),
        field("offers_to", FieldKind::TextOrNull, "ADDRESS:PORT where offers go"),
        OK,
        ERROR,
        OFFERS,
        field("peers", FieldKind::Number, "peers that they came from"),
    ],
};
pub(super) const PEER: Kind = Kind {
    name: "peer",
    what: "doctor: a peer that was heard; ok if its port could be connected to",
    fields: &[
        field("peer", FieldKind::Number, "its id"),
        field("from", FieldKind::Text, "the address that its first offer came from"),
        OFFERS,
        field("address", FieldKind::TextOrNull, "ADDRESS:PORT, as the registry knows it"),
        OK,
        CONNECTED_US,
        ERROR,
    ],
};
pub(super) const VERDICT: Kind = Kind {
    name: "verdict",
    what: "doctor: what follows from all of it",
    fields: &[
        field("code", FieldKind::Number, "the exit code"),
        field("text", FieldKind::Text, "what it means and what to do, for people"),
    ],
};

/// An address of this machine, and what goes out and comes in there.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceEvent<'a> {
    /// The interface.
    pub name: &'a str,
    /// Its address, and how many bits of it are those of its network.
    pub address: (Ipv4Addr, u8),
    /// Its broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether it is switched on and connected.
    pub is_up: bool,
    /// Where offers go, and why they do not.
    pub to: Option<SocketAddrV4>,
    /// Why they do not.
    pub error: Option<&'a str>,
    /// Whether an own broadcast came back.
    pub is_heard_back: bool,
    /// Offers heard, and from how many peers.
    pub offers: (u64, u64),
}

/// Whether the port of offers can be shared.
pub fn offer_port(port: u16, error: Option<&str>) -> String {
    let ok = Value::Flag(error.is_none());
    line(&OFFER_PORT, &[Value::Number(port.into()), ok, or_null(&error)])
}

/// Whether the registry answers.
pub fn registry(
    registry: &dyn Display,
    connected_in: Option<Duration>,
    answered_in: Option<Duration>,
    error: Option<&str>,
) -> String {
    let times = [connected_in, answered_in].map(microseconds);
    let ok = Value::Flag(error.is_none());
    line(&REGISTRY, &[Value::Text(registry), ok, times[0], times[1], or_null(&error)])
}

/// An address of this machine.
pub fn interface(event: &InterfaceEvent<'_>) -> String {
    let (address, prefix_len) = event.address;
    let values = [
        Value::Text(&event.name),
        Value::Text(&address),
        Value::Number(prefix_len.into()),
        or_null(&event.broadcast),
        Value::Flag(event.is_up),
        or_null(&event.to),
        Value::Flag(event.is_heard_back),
        or_null(&event.error),
        Value::Number(event.offers.0),
        Value::Number(event.offers.1),
    ];
    line(&INTERFACE, &values)
}

/// A peer that was heard: who, from where and how often; where it is, and whether it was
/// reached there, or why not.
pub fn peer(
    heard: (u32, Ipv4Addr, u64),
    address: Option<SocketAddrV4>,
    reached: Result<Duration, &str>,
) -> String {
    let (id, from, offers) = heard;
    let error = reached.err();
    let values = [
        Value::Number(id.into()),
        Value::Text(&from),
        Value::Number(offers),
        or_null(&address),
        Value::Flag(reached.is_ok()),
        microseconds(reached.ok()),
        or_null(&error),
    ];
    line(&PEER, &values)
}

/// What follows from all of it.
pub fn verdict(code: ExitCode, text: &str) -> String {
    line(&VERDICT, &[Value::Number(code as u64), Value::Text(&text)])
}

fn or_null<T: Display>(value: &Option<T>) -> Value<'_> {
    match value {
        Some(value) => Value::Text(value),
        None => Value::Null,
    }
}

fn microseconds(time: Option<Duration>) -> Value<'static> {
    time.map_or(Value::Null, |time| Value::Number(time.as_micros() as u64))
}
