//! What we want by version 1: contents from many sources.

#[allow(dead_code, reason = "its jobs are to come")]
mod contents;
