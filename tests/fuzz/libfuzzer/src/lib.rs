//! The fuzz targets of `tests/fuzz`, by name.

#[path = "../../targets/mod.rs"]
mod targets;

/// Runs one target.
///
/// # Panics
/// If the target finds something, or does not exist.
pub fn run(name: &str, data: &[u8]) {
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}
