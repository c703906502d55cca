//! JSON, as far as it is needed: objects, one to a line, whose keys come from their own
//! documentation, so that the two cannot differ.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use crate::limits::JSON_TEXT_BYTES_MAX;
use crate::wire::is_deceptive;

/// The version of all objects. It changes with any change of shape that is not a new
/// event or a new field at the end.
pub const VERSION: u64 = 1;

/// A kind of object.
#[derive(Debug)]
pub struct Kind {
    /// What stands in its field `event`.
    pub name: &'static str,
    /// When there is one.
    pub what: &'static str,
    /// Its own fields, after those that all have, in order.
    pub fields: &'static [Field],
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What stands in it.
    pub kind: FieldKind,
    /// What that means, with its unit.
    pub what: &'static str,
}

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A string.
    Text,
    /// A string, or null.
    TextOrNull,
    /// A whole number.
    Number,
    /// A whole number, or null.
    NumberOrNull,
    /// A number with decimals.
    Decimal,
    /// true or false.
    Flag,
}

/// A value.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A string. What could deceive a reader is escaped, and comes out again when the
    /// line is parsed.
    Text(&'a dyn fmt::Display),
    /// A whole number.
    Number(u64),
    /// A time in seconds.
    Seconds(Duration),
    /// true or false.
    Flag(bool),
    /// Nothing.
    Null,
}

/// The fields that every object has.
pub const COMMON: &[Field] = &[
    Field { name: "v", kind: FieldKind::Number, what: "the version of these objects, 1" },
    Field { name: "time", kind: FieldKind::Text, what: "when, as in 2001-02-03T04:05:06.789Z" },
    Field { name: "event", kind: FieldKind::Text, what: "the name of the event" },
];

/// An object with the values of its own fields, as a line.
pub fn line(kind: &Kind, values: &[Value<'_>]) -> String {
    debug_assert_eq!(kind.fields.len(), values.len(), "{}", kind.name);
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    let common = [Value::Number(VERSION), Value::Text(&now), Value::Text(&kind.name)];
    let fields = COMMON.iter().chain(kind.fields).zip(common.iter().chain(values));
    let mut line = String::new();
    for (n, (field, value)) in fields.enumerate() {
        line.push_str(if n == 0 { "{\"" } else { ",\"" });
        line.push_str(field.name);
        line.push_str("\":");
        value.push(&mut line);
    }
    line.push_str("}\n");
    line
}

impl Value<'_> {
    fn push(self, out: &mut String) {
        // Writing to a string cannot fail; a text that is too long ends early.
        let _ = match self {
            Self::Text(text) => {
                out.push('"');
                let end = out.len() + JSON_TEXT_BYTES_MAX;
                let _ = write!(Escaped { out, end }, "{text}");
                out.write_char('"')
            }
            Self::Number(number) => write!(out, "{number}"),
            Self::Seconds(duration) => write!(out, "{:.3}", duration.as_secs_f64()),
            Self::Flag(flag) => write!(out, "{flag}"),
            Self::Null => out.write_str("null"),
        };
    }
}

/// Escapes what JSON wants escaped, and what could deceive whoever looks at the line.
struct Escaped<'a> {
    out: &'a mut String,
    /// Where it ends at the latest.
    end: usize,
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.out.len() >= self.end {
                return Err(fmt::Error);
            }
            match c {
                '"' | '\\' => self.out.extend(['\\', c]),
                c if is_deceptive(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}")?;
                    }
                }
                c => self.out.push(c),
            }
        }
        Ok(())
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::TextOrNull => "text or null",
            Self::Number => "number",
            Self::NumberOrNull => "number or null",
            Self::Decimal => "decimal",
            Self::Flag => "true or false",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        name: "test",
        what: "",
        fields: &[
            Field { name: "text", kind: FieldKind::Text, what: "" },
            Field { name: "number", kind: FieldKind::Number, what: "" },
            Field { name: "seconds", kind: FieldKind::Decimal, what: "" },
            Field { name: "flag", kind: FieldKind::Flag, what: "" },
            Field { name: "nothing", kind: FieldKind::TextOrNull, what: "" },
        ],
    };

    fn with_text(text: &str) -> String {
        let seconds = Value::Seconds(Duration::from_millis(1500));
        let (number, flag) = (Value::Number(u64::MAX), Value::Flag(true));
        line(&KIND, &[Value::Text(&text), number, seconds, flag, Value::Null])
    }

    #[test]
    fn every_text_comes_out_as_it_went_in_and_shows_nothing_that_deceives() {
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        for text in all.chunks(50).map(String::from_iter).chain(["".into(), "\"\\\n".into()]) {
            let line = with_text(&text);
            let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(parsed["text"], text);
            assert!(!line[..line.len() - 1].chars().any(is_deceptive), "{line:?}");
            assert_eq!((&parsed["v"], &parsed["event"]), (&1.into(), &"test".into()));
            assert_eq!((&parsed["number"], &parsed["seconds"]), (&u64::MAX.into(), &1.5.into()));
            assert_eq!((&parsed["flag"], &parsed["nothing"]), (&true.into(), &().into()));
        }
    }

    #[test]
    fn a_text_without_end_is_cut_where_the_line_still_fits_a_pipe() {
        let line = with_text(&"\u{e0001}".repeat(10_000));
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        let chars = parsed["text"].as_str().unwrap().chars().count();
        assert_eq!(chars, 86, "of 12 bytes each, the last of which is begun before the end");
        assert!(with_text(&"a".repeat(1025)).contains(&format!(":\"{}\",", "a".repeat(1024))));
        assert!(with_text(&"\"".repeat(513)).contains(&format!(":\"{}\",", "\\\"".repeat(512))));
        assert!(
            with_text(&"\u{e9}".repeat(513)).contains(&format!(":\"{}\",", "\u{e9}".repeat(512)))
        );
        // Some objects have two of them.
        assert!(2 * line.len() < crate::limits::STDOUT_LINE_BYTES_MAX, "{}", line.len());
    }
}
