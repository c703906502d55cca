//! The limits that a user may change.

use std::time::Duration;

use clap::{Args, value_parser};

use super::value::{rate, size, timeout};
use crate::limits::{CONNECTIONS_MIN, CONNECTIONS_PER_ADDRESS_MAX, Limits};
use crate::reactor::RateLimits;

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Limit the connections open at once [default: 1024 for a peer, 16384 for a registry].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(CONNECTIONS_MIN as i64..=1_000_000))]
    connections_max: Option<u32>,
    /// Limit the connections open at once from one address; the loopback is exempt.
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_PER_ADDRESS_MAX as u32)]
    #[arg(value_parser = value_parser!(u32).range(1..=1_000_000))]
    connections_per_address_max: u32,
    /// Close a new connection that has received nothing for this time.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    first_byte_timeout: Duration,
    /// Close a connection without a request for this time.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = timeout)]
    idle_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct TransferArgs {
    /// Give up a download that stands still for this long, an upload after ten times this.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = timeout)]
    progress_timeout: Duration,
    /// Send at most this many bytes a second, such as 500k or 4MiB, in all transfers together.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_up: Option<u64>,
    /// Receive at most this many bytes a second, in all transfers together.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_down: Option<u64>,
}

#[derive(Debug, Args)]
pub struct WriteArgs {
    /// Do not flush files to the disk; they may be lost when the power fails.
    #[arg(long, help_heading = "Files")]
    pub no_sync: bool,
    /// Fetch no file larger than this, such as 500M or 4GiB.
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    max_file_size: Option<u64>,
    /// Keep this much of the disk free [default: 1 %, but 64 MiB to 1 GiB and at most half].
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub disk_reserve: Option<u64>,
}

impl LimitArgs {
    /// Returns the limits; those without an option here are from `usual`.
    pub fn limits(&self, usual: Limits) -> Limits {
        Limits {
            connections_max: self.connections_max.map_or(usual.connections_max, |n| n as usize),
            connections_per_address_max: self.connections_per_address_max as usize,
            first_byte_timeout: self.first_byte_timeout,
            idle_timeout: self.idle_timeout,
            ..usual
        }
    }
}

impl TransferArgs {
    /// Returns the rates that all transfers together have.
    pub fn rates(&self) -> RateLimits {
        RateLimits { up: self.limit_up, down: self.limit_down }
    }

    /// Returns the limits; those without an option here are from `usual`.
    pub fn limits(&self, usual: Limits) -> Limits {
        Limits { progress_timeout: self.progress_timeout, ..usual }
    }
}

impl WriteArgs {
    /// Returns the limits; those without an option here are from `usual`.
    pub fn limits(&self, usual: Limits) -> Limits {
        Limits { file_bytes_max: self.max_file_size.unwrap_or(u64::MAX), ..usual }
    }
}
