//! A bare client that fetches a small file again and again on one connection, and
//! measures each answer.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::crowd::{Downloads, Until};
use crate::{Outcome, part, percentile};
use kit::RawDownloader;
use kit::messages::digest_of;

pub const PROBE: &str = "probe";

/// Between two answers: without it, the client would take a core from what runs beside.
const PAUSE: Duration = Duration::from_micros(500);

/// How long the answers took, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub most_ms: f64,
    pub count: f64,
}

/// A small file fetched again and again while others download at line rate.
pub struct Beside {
    pub answers: Answers,
    pub downloads_mb_per_s: f64,
}

impl Beside {
    /// So many downloads of `large`, and `small` for so long.
    pub fn measure(
        address: &str,
        (large, downloads): (&str, usize),
        small: &Path,
        time_ms: u64,
    ) -> Outcome<Self> {
        let until = Until::Milliseconds(time_ms + 200);
        let crowd = Downloads::start(address, large, downloads, until)?;
        crowd.await_data();
        let answers = Answers::measure(address, small, time_ms)?;
        Ok(Self { answers, downloads_mb_per_s: crowd.finish()?.mb_per_s })
    }
}

impl Answers {
    /// Measures for so many milliseconds. The first answer is compared with the original,
    /// and with its checksum.
    pub fn measure(address: &str, original: &Path, milliseconds: u64) -> Outcome<Self> {
        let original = original.to_str().ok_or("a path that is not UTF-8")?;
        let probe = part(PROBE, &[address, original, &milliseconds.to_string()]);
        let (_, line) = probe.await_stdout("answers ");
        probe.await_success();
        let numbers: Vec<f64> =
            line.split(' ').skip(1).map(str::parse).collect::<Result<_, _>>()?;
        let [p50_ms, p99_ms, most_ms, count] = numbers[..] else {
            return Err("not four numbers".into());
        };
        Ok(Self { p50_ms, p99_ms, most_ms, count })
    }
}

/// Arguments: the address, where the original is, how long.
pub fn probe(arguments: &[String]) -> Outcome<()> {
    let [address, original, milliseconds] = arguments else {
        return Err("three arguments".into());
    };
    let time = Duration::from_millis(milliseconds.parse()?);
    let name = Path::new(original).file_name().and_then(OsStr::to_str).ok_or("no name")?;
    let mut downloader = RawDownloader::connect(address.parse()?);
    let mut fetch = || downloader.fetch(name).ok_or("the uploader closed");
    let (received, digest) = fetch()?;
    if received != fs::read(original)? || digest != digest_of(&received) {
        return Err("what came is not the file".into());
    }
    let (begin, mut answers_ms) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let asked = Instant::now();
        fetch()?;
        answers_ms.push(asked.elapsed().as_secs_f64() * 1e3);
        sleep(PAUSE);
    }
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| percentile(&answers_ms, share));
    println!("answers {p50} {p99} {most} {}", answers_ms.len());
    Ok(())
}
