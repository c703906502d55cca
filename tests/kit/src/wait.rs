use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything is waited for before the test fails. Longer than every deadline of the
/// programs, with room for a busy machine: it tells a hang from a success and measures nothing.
pub const DEADLINE: Duration = Duration::from_secs(120);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until the condition holds; fails the test when [`DEADLINE`] has passed.
#[track_caller]
pub fn await_until(what: &str, mut condition: impl FnMut() -> bool) {
    await_some(what, || condition().then_some(()));
}

/// Waits until there is something, and returns it; fails the test when [`DEADLINE`] has passed.
#[track_caller]
pub fn await_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE, "waited in vain: {what}");
        sleep(POLL_INTERVAL);
    }
}
