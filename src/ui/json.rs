//! How an event looks as JSON: one object a line, made by `serde_json`.
//!
//! Two things differ from what `serde_json` does by itself. Seconds have three decimals. A
//! character that could deceive a reader ([`is_deceptive`]) is escaped as `\u....`: a line
//! is safe to show on a terminal, and a parser returns the text as it was.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::events::Event;
use crate::limits::JSON_TEXT_BYTES_MAX;
use crate::wire::is_deceptive;

/// The version of all events. It changes with any change of shape other than a new event or
/// a new field.
pub const VERSION: u64 = 1;

/// A text of up to [`JSON_TEXT_BYTES_MAX`] bytes with its escapes.
#[derive(Clone, Debug, Serialize)]
pub struct Text(String);

#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

/// A count that is also a metric, and goes up and down.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gauge(pub usize);

/// A count that is also a metric, and never goes down while the program runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Counter(pub u64);

/// What a line holds: the fields that every event begins with, and its own.
#[derive(Serialize)]
struct Line<'a> {
    v: u64,
    time: Text,
    #[serde(flatten)]
    event: &'a Event,
}

impl Event {
    /// Returns the event as a line of `--json`, with the current time.
    pub fn line(&self) -> String {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let line = Line { v: VERSION, time: text(now), event: self };
        let mut bytes = Vec::new();
        let written = line.serialize(&mut Serializer::with_formatter(&mut bytes, Safe));
        debug_assert!(written.is_ok(), "writing to memory cannot fail: {written:?}");
        bytes.push(b'\n');
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// Returns what `shown` displays, cut off where the bound is reached.
pub fn text(shown: impl Display) -> Text {
    let mut cut = Cut { text: String::new(), left_bytes: JSON_TEXT_BYTES_MAX };
    // An error is the end of the room.
    let _ = write!(cut, "{shown}");
    Text(cut.text)
}

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

/// A text that ends with the first character that reaches the bound.
struct Cut {
    text: String,
    left_bytes: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left_bytes == 0 {
                return Err(fmt::Error);
            }
            self.text.push(c);
            let escaped_bytes = match c {
                '"' | '\\' => 2,
                c if is_deceptive(c) => 6 * c.len_utf16(),
                c => c.len_utf8(),
            };
            self.left_bytes = self.left_bytes.saturating_sub(escaped_bytes);
        }
        Ok(())
    }
}

struct Safe;

impl Formatter for Safe {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write!(writer, "{value:.3}")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for part in fragment.split_inclusive(is_deceptive) {
            let plain = part.trim_end_matches(is_deceptive);
            writer.write_all(plain.as_bytes())?;
            for unit in part[plain.len()..].encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let control = match escape {
            CharEscape::Quote => return writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => return writer.write_all(b"\\\\"),
            CharEscape::Solidus => return writer.write_all(b"/"),
            CharEscape::Backspace => 0x08,
            CharEscape::Tab => b'\t',
            CharEscape::LineFeed => b'\n',
            CharEscape::FormFeed => 0x0c,
            CharEscape::CarriageReturn => b'\r',
            CharEscape::AsciiControl(byte) => byte,
        };
        write!(writer, "\\u{control:04x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_text(text: &str) -> String {
        Event::NothingMatched { pattern: super::text(text) }.line()
    }

    #[test]
    fn every_text_is_parsed_as_it_was_and_its_line_shows_nothing_that_deceives() {
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        for text in all.chunks(50).map(String::from_iter).chain(["".into(), "\"\\\n".into()]) {
            let line = with_text(&text);
            let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(parsed["pattern"], text);
            assert!(!line[..line.len() - 1].chars().any(is_deceptive), "{line:?}");
        }
    }

    #[test]
    fn a_text_without_end_is_cut_where_the_line_still_fits_a_pipe() {
        let line = with_text(&"\u{e0001}".repeat(10_000));
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        let chars = parsed["pattern"].as_str().unwrap().chars().count();
        assert_eq!(chars, 86, "of 12 bytes each, the last of which is begun before the end");
        for (text, chars, escaped) in
            [("a", 1024, "a"), ("\"", 512, "\\\""), ("\u{e9}", 512, "\u{e9}")]
        {
            let cut = format!(":\"{}\"}}\n", escaped.repeat(chars));
            assert!(with_text(&text.repeat(chars + 1)).ends_with(&cut), "{text}");
        }
        // Some events have two of them.
        assert!(2 * line.len() < crate::limits::STDOUT_LINE_BYTES_MAX, "{}", line.len());
    }
}
