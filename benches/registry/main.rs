//! What the registry costs: registrations, lookups over few and many connections, how
//! soon they are answered, and memory for each peer, beside a bare epoll program that
//! answers the same requests with canned bytes.
//!
//! ```text
//! cargo bench --bench registry [-- [--quick] [--pairs N] [--json FILE] [TABLE ...]]
//! ```
//!
//! Registry and control each have a load of their own, a process too, so that 16,000
//! connections of each fit into the descriptors of one process.

mod control;
mod load;

use std::env::temp_dir;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bench_kit::crowd::take_all_descriptors;
use bench_kit::{Bound, Outcome, Process, Report, Settings, Table, part, rounds};
use kit::{DEADLINE, Launch};

/// Peers that the registry knows while it is asked.
const PEERS: usize = 16_000;
const QUICK_PEERS: usize = 2_000;
/// Descriptors of a process that are not for peers.
const SPARE_DESCRIPTORS: usize = 128;
const BESIDE: &str = "the load, a process of its own with one thread, took another core";

fn main() -> ExitCode {
    let parts: [(&str, bench_kit::Part); 2] = [("control", control::control), ("load", load::load)];
    bench_kit::run("registry", &parts, bench)
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let wanted = settings.choose(PEERS, QUICK_PEERS);
    let peers = wanted.min(take_all_descriptors().saturating_sub(SPARE_DESCRIPTORS));
    if peers < wanted {
        report.say(&format!("{peers} peers, not {wanted}: a process may have no more sockets"));
    }
    registrations(settings, report, peers.min(10_000))?;
    memory(settings, report, peers)?;

    let mut sides = [Side::registry()?, Side::control()?];
    for side in &mut sides {
        side.order(&format!("register {peers}"))?;
    }
    sides[0].order("check 1000")?;
    for connections in [1, 100, peers.min(10_000)] {
        for depth in [1, 64] {
            lookups(settings, report, &mut sides, connections, depth)?;
        }
    }
    for connections in [100, peers.min(10_000)] {
        latency(settings, report, &mut sides, connections)?;
    }
    sides[0].order("check 1000")?;
    Ok(())
}

fn registrations(settings: &Settings, report: &mut Report, count: usize) -> Outcome<()> {
    let title = format!("{count} registrations, each on a new connection");
    if !settings.wants(&title) {
        return Ok(());
    }
    let mut sides = [Side::registry()?, Side::control()?];
    let measured = rounds(settings, sides.len(), |way| {
        let numbers = sides[way].order(&format!("register {count}"))?;
        sides[way].order("leave")?;
        sides[way].await_departures()?;
        let [seconds, cpu_s] = numbers[..] else { return Err("two numbers expected".into()) };
        Ok((count as f64 / seconds, cpu_s / count as f64 * 1e6))
    })?;
    let mut table = Table::new(&title, BESIDE);
    let [[ours, our_cpu], [control, control_cpu]] = columns(&measured);
    table.row("registry", "a second", &ours);
    table.row("control", "a second", &control);
    table.row("registry, CPU for each", "us", &our_cpu);
    table.row("control, CPU for each", "us", &control_cpu);
    table.ratio("CPU to the control's", &our_cpu, &control_cpu, None);
    table.note("from the connection to the answer, and 64 at once");
    report.add(&table)
}

fn memory(settings: &Settings, report: &mut Report, peers: usize) -> Outcome<()> {
    let title = format!("memory for each of {peers} peers");
    if !settings.wants(&title) {
        return Ok(());
    }
    let (mut registered, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..settings.pairs {
        let mut side = Side::registry()?;
        // What the first one costs is there for all.
        side.order("register 1")?;
        side.order("closed 1 1 0")?;
        let before = side.server.usage().anonymous_bytes;
        let each = |side: &Side| -> Outcome<f64> {
            let bytes = side.server.usage().anonymous_bytes.saturating_sub(before);
            Ok(bytes as f64 / (peers - 1) as f64)
        };
        side.order(&format!("register {}", peers - 1))?;
        registered.push(each(&side)?);
        side.order(&format!("closed {peers} 1 0"))?;
        asked.push(each(&side)?);
    }
    let mut table = Table::new(&title, "the load, a process of its own, idle by then");
    table.bounded_row("registered", "bytes", &registered, Bound::AtMost(256.0));
    table.bounded_row("and has asked once", "bytes", &asked, Bound::AtMost(256.0));
    table.note("growth of the process (RssAnon); the kernel's own of a socket is not in it");
    report.add(&table)
}

/// Each connection keeps as many lookups under way as it may.
fn lookups(
    settings: &Settings,
    report: &mut Report,
    sides: &mut [Side; 2],
    connections: usize,
    depth: usize,
) -> Outcome<()> {
    let how = if depth == 1 { "one at a time".to_owned() } else { format!("{depth} pipelined") };
    let plural = if connections == 1 { "" } else { "s" };
    let title = format!("lookups over {connections} connection{plural}, {how}");
    if !settings.wants(&title) {
        return Ok(());
    }
    let seconds = settings.choose(0.5, 0.1);
    let measured = rounds(settings, sides.len(), |way| {
        let numbers = sides[way].order(&format!("closed {connections} {depth} {seconds}"))?;
        let [seconds, cpu_s, count] = numbers[..] else {
            return Err("three numbers expected".into());
        };
        Ok((count / seconds, cpu_s / count * 1e6))
    })?;
    let mut table = Table::new(&title, BESIDE);
    let [[ours, our_cpu], [control, control_cpu]] = columns(&measured);
    table.row("registry", "a second", &ours);
    table.row("control", "a second", &control);
    let bound = match connections {
        1 => None,
        100 => Some(Bound::AtMost(10.0)),
        _ => Some(Bound::AtMost(20.0)),
    };
    table.bounded_row("registry, CPU for each", "us", &our_cpu, bound);
    table.row("control, CPU for each", "us", &control_cpu);
    table.ratio("CPU to the control's", &our_cpu, &control_cpu, None);
    report.add(&table)
}

/// Lookups at a rate that does not depend on how soon they are answered.
fn latency(
    settings: &Settings,
    report: &mut Report,
    sides: &mut [Side; 2],
    connections: usize,
) -> Outcome<()> {
    let title = format!("10,000 lookups a second, spread over {connections} connections");
    if !settings.wants(&title) {
        return Ok(());
    }
    let seconds = settings.choose(2.0, 0.4);
    let measured = rounds(settings, sides.len(), |way| {
        let numbers = sides[way].order(&format!("paced {connections} 10000 {seconds}"))?;
        let [p50_s, p99_s, cpu_s, count] = numbers[..] else {
            return Err("four numbers expected".into());
        };
        Ok([p50_s * 1e6, p99_s * 1e6, cpu_s / count * 1e6])
    })?;
    let column = |way: usize, at: usize| measured[way].iter().map(|m| m[at]).collect::<Vec<_>>();
    let mut table = Table::new(&title, BESIDE);
    for (at, name) in ["p50", "p99"].into_iter().enumerate() {
        table.row(&format!("registry, {name}"), "us", &column(0, at));
        table.row(&format!("control, {name}"), "us", &column(1, at));
    }
    table.row("registry, CPU for each", "us", &column(0, 2));
    table.row("control, CPU for each", "us", &column(1, 2));
    for (at, name) in ["p50", "p99"].into_iter().enumerate() {
        let name = format!("{name} to the control's");
        table.ratio(&name, &column(0, at), &column(1, at), Bound::AtMost(1.5));
    }
    table.note("from when a lookup was due to its answer; the load polls without sleeping");
    report.add(&table)
}

/// Of both ways, the first and the second value of all rounds.
fn columns(measured: &[Vec<(f64, f64)>]) -> [[Vec<f64>; 2]; 2] {
    [0, 1].map(|way| {
        let (first, second) = measured[way].iter().copied().unzip();
        [first, second]
    })
}

/// A program that answers, and its load.
struct Side {
    server: Process,
    _load: Process,
    orders: BufReader<TcpStream>,
}

impl Side {
    fn registry() -> Outcome<Self> {
        Self::of(Launch::new(&temp_dir(), &["registry", "--listen", "127.0.0.1:0"]).start())
    }

    fn control() -> Outcome<Self> {
        Self::of(part("control", &[""; 0]))
    }

    fn of(server: Process) -> Outcome<Self> {
        let address = server.await_listening();
        let load = part("load", &[address.to_string(), server.pid().to_string()]);
        let orders: SocketAddrV4 = load.await_listening();
        let orders = TcpStream::connect(orders)?;
        orders.set_read_timeout(Some(DEADLINE))?;
        Ok(Self { server, _load: load, orders: BufReader::new(orders) })
    }

    /// Has the load do something; gives the numbers that it answers.
    fn order(&mut self, line: &str) -> Outcome<Vec<f64>> {
        self.orders.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.orders.read_line(&mut answer)?;
        let Some(numbers) = answer.strip_prefix("done") else {
            return Err(format!("{line}: {answer}").into());
        };
        Ok(numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }

    /// Waits until the server has seen all connections go.
    fn await_departures(&self) -> Outcome<()> {
        let begin = Instant::now();
        let descriptors = format!("/proc/{}/fd", self.server.pid());
        while fs::read_dir(&descriptors)?.count() > SPARE_DESCRIPTORS {
            if begin.elapsed() > DEADLINE {
                return Err("connections that were reset are still open".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}
