//! What a process costs, read from /proc.
//!
//! Time on a CPU, not time that passes: others may use the machine as they like.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::Process;

/// Rows 8, 22, 37: what an idle process may use of a CPU.
pub(crate) const IDLE_SHARE: f64 = 0.01;
/// Twice what FAULTS.md gives, for a machine that others use.
const IDLE_WITHIN: Duration = Duration::from_secs(10);

/// A look at a process that runs.
pub(crate) struct Figures {
    proc: String,
}

impl Figures {
    pub(crate) fn of(process: &Process) -> Self {
        Self { proc: format!("/proc/{}", process.pid()) }
    }

    /// The time that its one thread spent on a CPU.
    pub(crate) fn cpu(&self) -> Duration {
        let schedstat = self.read("schedstat");
        let nanoseconds = schedstat.split_whitespace().next().unwrap();
        Duration::from_nanos(nanoseconds.parse().unwrap())
    }

    /// The share of a CPU that it uses from now on, for so long.
    pub(crate) fn cpu_share(&self, window: Duration) -> f64 {
        let (began, cpu) = (Instant::now(), self.cpu());
        sleep(window);
        (self.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64()
    }

    /// Waits until the process does next to nothing.
    #[track_caller]
    pub(crate) fn await_idle(&self) {
        let began = Instant::now();
        loop {
            let waited = began.elapsed();
            let share = self.cpu_share(Duration::from_secs(1));
            if share < IDLE_SHARE {
                return;
            }
            assert!(waited < IDLE_WITHIN, "still uses {:.1} % of a CPU", share * 100.0);
        }
    }

    /// At no time so much memory was resident.
    #[track_caller]
    pub(crate) fn assert_memory_peak(&self, less_than_mib: f64) {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let mib = line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0;
        assert!(mib < less_than_mib, "{mib:.1} MiB of memory");
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("{}/fd", self.proc)).unwrap().count()
    }

    /// The limit of descriptors with which it can open so many more.
    pub(crate) fn descriptor_limit_for(&self, places: usize) -> u64 {
        let is_free = |number: &u64| !fs::exists(format!("{}/fd/{number}", self.proc)).unwrap();
        let last = (0..).filter(is_free).nth(places - 1).unwrap();
        last + 1
    }

    /// What its sockets on a UDP port hold that was not received yet.
    pub(crate) fn datagram_bytes_waiting(&self, port: u16) -> u64 {
        let links = fs::read_dir(format!("{}/fd", self.proc)).unwrap();
        let links: Vec<_> = links
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        let port = format!(":{port:04X}");
        let table = self.read("net/udp");
        let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
        let ours = rows.filter(|row| {
            row[1].ends_with(&port) && links.contains(&format!("socket:[{}]", row[9]))
        });
        let waiting = |row: Vec<&str>| {
            let (_, received) = row[4].split_once(':').unwrap();
            u64::from_str_radix(received, 16).unwrap()
        };
        ours.map(waiting).sum()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("{}/{file}", self.proc)).unwrap()
    }
}

/// The one in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
