//! The display of foreign text.

use kit::oracle;

/// The bytes are a text; what is not UTF-8 is replaced, as it is for names in a folder.
pub(super) fn run(data: &[u8]) {
    oracle::check_shown(&String::from_utf8_lossy(data));
}
