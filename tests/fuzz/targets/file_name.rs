//! The policy for names, held against the rule as PROTOCOL.md has it.

use kit::oracle;

/// The bytes are one name.
pub(super) fn run(data: &[u8]) {
    oracle::check_name(data);
}
