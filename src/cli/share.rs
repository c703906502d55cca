//! `p2pfs share`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::limits::{LimitArgs, TransferArgs};
use super::network::NetworkArgs;
use super::output::MetricsArgs;
use super::secret::SecretArgs;
use super::value::{exclude, peer_name};
use crate::storage::Exclude;
use crate::wire::FilePath;
use crate::wire::v1::PeerName;

#[derive(Debug, Args)]
#[command(after_help = "One folder is shared without a prefix: others fetch what is in it by its \
    path there. Several paths, or a file, are shared under their base names, or under those that \
    are given as NAME=PATH. Nothing is written to them.\n\n\
    Folders are shared with all below them, and followed as they change. Links, devices and what \
    is mounted there are left out. Peers of version 0 are offered the files at the top that have \
    a name that is legal on every system.\n\n\
    Without --interface, it listens and offers on every interface that is up and can broadcast, \
    and follows those that come and go. The registry knows one address of each peer: that of the \
    interface that reaches it or, if it is on this machine, that of the default route.")]
pub struct ShareArgs {
    /// Share these folders and files.
    #[arg(value_name = "PATH|NAME=PATH", default_value = ".")]
    #[arg(value_parser = OsStringValueParser::new().try_map(root))]
    pub paths: Vec<RootArg>,
    /// Share names that begin with a dot, too.
    #[arg(long)]
    pub hidden: bool,
    /// Leave out what matches this pattern, with all below it; repeat it for several. Without a
    /// slash it matches names at any depth, else paths from the top.
    #[arg(long, value_name = "GLOB", value_parser = exclude)]
    pub exclude: Vec<Exclude>,
    /// Show this name to others [default: that of this machine].
    #[arg(long, value_name = "NAME", value_parser = peer_name)]
    pub name: Option<PeerName>,
    /// Offer nothing to peers of version 0.
    #[arg(long)]
    pub no_v0: bool,
    /// Listen on this TCP port; 0 takes a free one [default: 8001 if it is free, else another].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub secret: SecretArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub transfer: TransferArgs,
    #[command(flatten)]
    pub output: MetricsArgs,
}

/// A folder or file that is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootArg {
    /// The name that it is given.
    pub name: Option<String>,
    pub path: PathBuf,
}

/// Parses a path, or a name and a path. A path that exists is one, whatever is in it.
fn root(text: OsString) -> Result<RootArg, String> {
    let exists = |path: &PathBuf| std::fs::metadata(path).map_err(|error| error.to_string());
    let whole = PathBuf::from(&text);
    let Err(missing) = exists(&whole) else { return Ok(RootArg { name: None, path: whole }) };
    let named = text.to_str().and_then(|text| text.split_once('='));
    let Some((name, path)) = named.filter(|(name, _)| !name.contains('/')) else {
        return Err(missing);
    };
    FilePath::in_folder(None, name.as_bytes()).map_err(|error| error.to_string())?;
    let path = PathBuf::from(path);
    exists(&path)?;
    Ok(RootArg { name: Some(name.to_owned()), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_before_the_path_is_told_from_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("a=b"), b"").unwrap();
        let parse = |text: &str| root(text.into()).map(|root| (root.name, root.path));
        let path = |name: &str| PathBuf::from(at(name));
        assert_eq!(parse(&at("a=b")), Ok((None, path("a=b"))));
        let named = format!("n={}", at("a=b"));
        assert_eq!(parse(&named), Ok((Some("n".into()), path("a=b"))));
        let none = |text: &str| parse(text).unwrap_err();
        assert!(none(&format!("..={}", at("a=b"))).contains("a component is"));
        for absent in [at("c"), format!("n={}", at("c")), at("n=a=b"), format!("={}", at("c"))] {
            none(&absent);
        }
    }
}
