//! The parts that several test targets share.
//!
//! | module | what it is for |
//! |---|---|
//! | `amount` | how much a test tries, as the environment sets it |
//! | `trial` | tests that need root, a tool or a feature of the kernel, and are skipped without it |

mod amount;
mod trial;

pub use amount::{quantity, setting};
pub use trial::{Missing, NOTHING, Need, Test, is_root, run, tools};
