//! What a process costs, as the kernel counts it.
//!
//! Time on a CPU, not time that passes: others may use the machine as they like.

use std::fs;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{DEADLINE, Process, await_until};

/// The most that an idle process may use of a CPU.
const IDLE_SHARE: f64 = 0.01;
/// Twice what FAULTS.md gives, for a machine that others use.
const IDLE_WITHIN: Duration = Duration::from_secs(10);
/// What a process of this program needs at most, whatever is done to it.
const MEMORY_MIB_MAX: f64 = 32.0;

/// What a process of one thread has cost, or what it cost between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time on a core, in the program and in the kernel for it.
    pub cpu: Duration,
    /// How often it waited for something: a wake-up follows each.
    pub waits: u64,
    /// Memory now; 0 once it has ended.
    pub rss_bytes: u64,
    /// Of that, what belongs to no file.
    pub anonymous_bytes: u64,
    /// The most memory that was resident at any time.
    pub peak_bytes: u64,
}

impl Usage {
    /// Of the process with this number, living or not yet reaped.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        // In nanoseconds, where the times in `stat` count ticks of 10 ms.
        let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let cpu_ns = schedstat.split_whitespace().next().and_then(|text| text.parse().ok());
        let kib = |name| field(name).unwrap_or_default() * 1024;
        Ok(Self {
            cpu: Duration::from_nanos(cpu_ns.unwrap_or_default()),
            waits: field("voluntary_ctxt_switches:").unwrap_or_default(),
            rss_bytes: kib("VmRSS:"),
            anonymous_bytes: kib("RssAnon:"),
            peak_bytes: kib("VmHWM:"),
        })
    }

    /// Returns what was spent since then. Memory is what it is now.
    pub fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), waits: self.waits - before.waits, ..self }
    }
}

impl Process {
    /// Returns what it has cost so far.
    #[track_caller]
    pub fn usage(&self) -> Usage {
        Usage::of(self.number()).unwrap()
    }

    /// Returns the time on a core of the process, with all its threads, and of those it waited
    /// for: for programs of others, or of many threads. It is a sum of four times, each cut down
    /// to 10 ms.
    #[track_caller]
    pub fn cpu_of_all(&self) -> Duration {
        let stat = fs::read_to_string(self.proc("stat")).unwrap();
        // The name in parentheses may hold spaces; utime is the 12th field after it.
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks: u64 = fields.skip(11).take(4).filter_map(|text| text.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Returns how many descriptors are open.
    #[track_caller]
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Returns the limit of descriptors with which it can open so many more.
    pub fn descriptor_limit_for(&self, places: usize) -> u64 {
        let is_free = |number: &u64| !fs::exists(self.proc(&format!("fd/{number}"))).unwrap();
        (0..).filter(is_free).nth(places - 1).unwrap() + 1
    }

    /// Returns the share of a CPU that it uses from now on, for so long.
    #[track_caller]
    pub fn cpu_share(&self, window: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.usage());
        sleep(window);
        self.usage().since(before).cpu.as_secs_f64() / began.elapsed().as_secs_f64()
    }

    /// Waits until the process does next to nothing, which has to be soon.
    #[track_caller]
    pub fn await_idle(&self) {
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

    /// Waits until no more descriptors are open than before, and the process does next to
    /// nothing; at no time it took much memory.
    #[track_caller]
    pub fn await_rest(&self, descriptors_before: usize) {
        await_until("its tables are empty again", || self.descriptors() <= descriptors_before);
        self.await_idle();
        self.assert_memory_bounded();
    }

    #[track_caller]
    pub fn assert_memory_bounded(&self) {
        let mib = self.usage().peak_bytes as f64 / f64::from(1 << 20);
        assert!(mib < MEMORY_MIB_MAX, "{mib:.1} MiB of memory");
    }

    /// Returns what it has read so far, from files and sockets.
    #[track_caller]
    pub fn read_bytes(&self) -> u64 {
        let counts = fs::read_to_string(self.proc("io")).unwrap();
        counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// Waits until it has read so much, to the millisecond.
    #[track_caller]
    pub fn await_read(&self, bytes: u64) {
        let begin = Instant::now();
        while self.read_bytes() < bytes {
            assert!(begin.elapsed() < DEADLINE, "it never read {bytes} bytes");
            sleep(Duration::from_millis(1));
        }
    }

    fn number(&self) -> u32 {
        self.pid().as_raw_nonzero().get() as u32
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid())
    }
}
