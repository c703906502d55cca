//! The documentation of the events of `--json`, as values: `p2pfs man json` prints it, and
//! tests compare events with it.
//!
//! It is written beside each event in [`events`](super::events); this file holds its types.

use std::fmt;
use std::time::Duration;

use super::json::{Counter, Gauge, Seconds, Text};

#[derive(Debug)]
pub struct Kind {
    /// The value of its field `event`.
    pub name: &'static str,
    /// When it is printed.
    pub when: &'static str,
    /// Its fields after the [`COMMON`] ones, in order.
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: FieldKind,
    /// What the value means, with its unit.
    pub meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    TextOrNull,
    TextList,
    Number,
    NumberOrNull,
    /// A number with decimals.
    Decimal,
    Flag,
}

/// A number with the type and the unit that Prometheus wants.
#[derive(Clone, Copy, Debug)]
pub(super) enum Metric {
    Gauge(usize),
    Counter(u64),
    Seconds(f64),
}

/// A type that a field may have.
pub(super) trait FieldType {
    /// What such a field holds.
    const KIND: FieldKind;

    /// Returns the value, if it can be a metric.
    fn metric(&self) -> Option<Metric> {
        None
    }
}

/// The fields that every event begins with.
pub const COMMON: &[Field] = &[
    Field { name: "v", kind: FieldKind::Number, meaning: "version of the events: 1" },
    Field { name: "time", kind: FieldKind::Text, meaning: "time, as in 2001-02-03T04:05:06.789Z" },
    Field { name: "event", kind: FieldKind::Text, meaning: "name of the event" },
];

macro_rules! field_types {
    ($($Type:ty: $Kind:ident $(, $Metric:expr)?;)+) => {
        $(impl FieldType for $Type {
            const KIND: FieldKind = FieldKind::$Kind;
            $(
                fn metric(&self) -> Option<Metric> {
                    Some($Metric(self.0))
                }
            )?
        })+
    };
}

field_types! {
    Text: Text;
    Option<Text>: TextOrNull;
    Vec<Text>: TextList;
    u8: Number;
    u16: Number;
    u32: Number;
    u64: Number;
    usize: Number;
    Option<u64>: NumberOrNull;
    Gauge: Number, Metric::Gauge;
    Counter: Number, Metric::Counter;
    Seconds: Decimal, |time: Duration| Metric::Seconds(time.as_secs_f64());
    bool: Flag;
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::TextOrNull => "text or null",
            Self::TextList => "list of text",
            Self::Number => "number",
            Self::NumberOrNull => "number or null",
            Self::Decimal => "decimal",
            Self::Flag => "true or false",
        })
    }
}
