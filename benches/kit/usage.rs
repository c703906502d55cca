//! What a process has cost so far, as the kernel counts it.

use std::fs;
use std::io;
use std::time::Duration;

/// What a process of one thread has cost, or what it cost between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Time on a core, in the program and in the kernel for it.
    pub(crate) cpu: Duration,
    /// How often it waited for something: a wake-up follows each.
    pub(crate) waits: u64,
    /// Memory now; 0 once it has ended.
    pub(crate) rss_bytes: u64,
    /// Of that, what belongs to no file.
    pub(crate) anonymous_bytes: u64,
}

impl Usage {
    /// Of the process with this number, living or not yet reaped.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        // In nanoseconds, where the times in `stat` count ticks of 10 ms.
        let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let cpu_ns = schedstat.split_whitespace().next().and_then(|text| text.parse().ok());
        Ok(Self {
            cpu: Duration::from_nanos(cpu_ns.unwrap_or_default()),
            waits: field("voluntary_ctxt_switches:").unwrap_or_default(),
            rss_bytes: field("VmRSS:").unwrap_or_default() * 1024,
            anonymous_bytes: field("RssAnon:").unwrap_or_default() * 1024,
        })
    }

    /// What was spent since then. Memory is what it is now.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), waits: self.waits - before.waits, ..self }
    }
}

/// The time on a core of a process, with all its threads, and of those it waited for: for
/// programs of others, or of many threads. It is a sum of four times, each cut down to 10 ms.
pub(crate) fn cpu_of_all(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; utime is the 12th field after it.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(4).filter_map(|text| text.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
