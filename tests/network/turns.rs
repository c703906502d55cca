//! Who runs when: a test that measures runs alone, those that only wait run side by
//! side.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::process::{Resource, getrlimit, setrlimit};

static TURNS: RwLock<()> = RwLock::new(());

/// Waits until nothing else runs. Nothing will, while the guard lives.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    // A test that failed leaves nothing behind that could disturb another.
    let turn = TURNS.write().unwrap_or_else(PoisonError::into_inner);
    let mut descriptors = getrlimit(Resource::Nofile);
    descriptors.current = descriptors.maximum;
    setrlimit(Resource::Nofile, descriptors).unwrap();
    turn
}

/// Runs beside others that only wait.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURNS.read().unwrap_or_else(PoisonError::into_inner)
}

/// How many sockets a test may hold, with some descriptors to spare.
pub(crate) fn sockets_max() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| n as usize).saturating_sub(200)
}

/// Returns the value in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
