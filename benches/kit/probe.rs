//! A bare client that fetches a small file again and again on one connection, and
//! measures each answer.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::crowd::{Downloads, Until};
use super::messages::{Count, EOF_BYTES, acknowledgment, digest_of, int, request, text};
use super::{Outcome, Process, percentile};

pub(super) const PROBE: &str = "probe";

/// Between two answers: without it, the client would take a core from what runs beside.
const PAUSE: Duration = Duration::from_micros(500);
const OUR_ID: u32 = 4_000_000_001;

/// How long the answers took, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) most_ms: f64,
    pub(crate) count: f64,
}

/// A small file fetched again and again while others download at line rate.
pub(crate) struct Beside {
    pub(crate) answers: Answers,
    pub(crate) downloads_mb_per_s: f64,
}

impl Beside {
    /// So many downloads of `large`, and `small` for so long.
    pub(crate) fn measure(
        address: &str,
        (large, downloads): (&str, usize),
        small: &Path,
        time_ms: u64,
    ) -> Outcome<Self> {
        let until = Until::Milliseconds(time_ms + 200);
        let crowd = Downloads::start(address, large, downloads, until)?;
        crowd.await_data()?;
        let answers = Answers::measure(address, small, time_ms)?;
        Ok(Self { answers, downloads_mb_per_s: crowd.finish()?.mb_per_s })
    }
}

impl Answers {
    /// Measures for so many milliseconds. The first answer is compared with the original,
    /// and with its checksum.
    pub(crate) fn measure(address: &str, original: &Path, milliseconds: u64) -> Outcome<Self> {
        let original = original.to_str().ok_or("a path that is not UTF-8")?;
        let mut probe = Process::part(PROBE, &[address, original, &milliseconds.to_string()])?;
        let (_, line) = probe.await_stdout("answers ")?;
        probe.await_success()?;
        let numbers: Vec<f64> =
            line.split(' ').skip(1).map(str::parse).collect::<Result<_, _>>()?;
        let [p50_ms, p99_ms, most_ms, count] = numbers[..] else {
            return Err("not four numbers".into());
        };
        Ok(Self { p50_ms, p99_ms, most_ms, count })
    }
}

/// Arguments: the address, where the original is, how long.
pub(super) fn probe(arguments: &[String]) -> Outcome<()> {
    let [address, original, milliseconds] = arguments else {
        return Err("three arguments".into());
    };
    let time = Duration::from_millis(milliseconds.parse()?);
    let name = Path::new(original).file_name().and_then(OsStr::to_str).ok_or("no name")?;
    let request = request(name, Count::Bytes);
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    fetch(&mut stream, &request, &mut received)?;
    check(&received, &fs::read(original)?)?;
    let (begin, mut answers_ms) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let asked = Instant::now();
        fetch(&mut stream, &request, &mut received)?;
        answers_ms.push(asked.elapsed().as_secs_f64() * 1e3);
        sleep(PAUSE);
    }
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| percentile(&answers_ms, share));
    println!("answers {p50} {p99} {most} {}", answers_ms.len());
    Ok(())
}

/// Asks, and receives up to the EOF; chunks are acknowledged as they come.
fn fetch(stream: &mut TcpStream, request: &[u8], received: &mut Vec<u8>) -> Outcome<()> {
    received.clear();
    stream.write_all(request)?;
    let mut buffer = [0; 32 * 1024];
    let mut at = 0;
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Err("the uploader closed".into());
        }
        received.extend_from_slice(&buffer[..len]);
        while let Some(message_bytes) = message_bytes(&received[at..]) {
            if received[at] == b'E' {
                return Ok(());
            }
            at += message_bytes;
            stream.write_all(&acknowledgment(OUR_ID))?;
        }
    }
}

/// How long the first message is, once all of it is there.
pub(crate) fn message_bytes(bytes: &[u8]) -> Option<usize> {
    let len = match bytes.first()? {
        b'T' if bytes.len() < 5 => return None,
        b'T' => 5 + int(bytes, 1) as usize,
        _ => EOF_BYTES,
    };
    (bytes.len() >= len).then_some(len)
}

fn check(mut received: &[u8], original: &[u8]) -> Outcome<()> {
    let mut content = Vec::new();
    while let Some(len) = message_bytes(received).filter(|_| received[0] == b'T') {
        content.extend_from_slice(&received[5..len]);
        received = &received[len..];
    }
    match content == original && text(received, 1) == digest_of(original) {
        true => Ok(()),
        false => Err("what came is not the file".into()),
    }
}
