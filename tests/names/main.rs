//! Names, and other text from outside: FAULTS.md rows 27 and 29 to 31.
//!
//! | module | what it proves |
//! |---|---|
//! | `corpus` | each of some 3,000 hostile names (`hostile.txt`) is refused, and why |
//! | `generated` | of any number of generated names, what is accepted is legal |
//! | `files` | whatever is accepted becomes a file in the folder and nothing else |
//! | `terminal` | the real binary prints nothing but printable text and newlines |
//!
//! `oracle` is the rule, written a second time. 10 million generated names, at best in a
//! release build: `P2PFS_NAMES=10000000 cargo test --release --test names generated`.

mod corpus;
mod files;
mod generated;
mod terminal;
