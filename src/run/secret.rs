//! `p2pfs secret`, and the secret that other commands use.

use std::env;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use super::print;
use crate::cli::{NewSecretArgs, OutputArgs, SecretArgs};
use crate::exit::{ExitCode, Failure};
use crate::node::{BeaconSettings, GroupSettings};
use crate::storage::{
    SecretError, is_absent, read_secret, secret_credential, secret_place, secret_remedy,
    write_secret,
};
use crate::ui::{Event, text};
use crate::wire::Shown;
use crate::wire::v1::{SECRET_BYTES, Secret};

/// The group to which a program belongs, if any.
pub(super) struct Membership {
    pub(super) group: Option<GroupSettings>,
    pub(super) beacons: BeaconSettings,
}

/// Makes a secret, and prints where it is.
pub fn secret(args: &NewSecretArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let no_place = || {
        let message = "there is no place for a secret, as HOME is not set; give --secret-file";
        Failure::new(ExitCode::Other, message)
    };
    let path = args.secret_file.clone().or_else(secret_place).ok_or_else(no_place)?;
    let shown = Shown(path.to_string_lossy());
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        Failure::new(ExitCode::Other, "cannot make a secret: this system has no random numbers")
    })?;
    write_secret(&path, &Secret::new(bytes)).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let message = format_args!("{shown} exists, and is not replaced; ");
            let message = format_args!("{message}choose another with --secret-file");
            Failure::new(ExitCode::Exists, message)
        }
        _ => {
            let message = format_args!("cannot write the secret to {shown}: {error}; ");
            let message = format_args!("{message}choose another with --secret-file");
            Failure::new(ExitCode::WriteFailed, message)
        }
    })?;
    let line = match output.json {
        true => {
            let meaning = text("the secret of a group");
            Event::Place { kind: text("file"), place: text(&shown), meaning }.line()
        }
        false => format!("{shown}\n"),
    };
    print(line.as_bytes())?;
    log::info!(
        target: "secret",
        "copy it to each machine of the group, by a way that nobody else reads"
    );
    Ok(ExitCode::Done)
}

/// Returns the group whose secret a command uses, and tells the user in the name of the command.
///
/// # Errors
/// If there is a secret that cannot be used.
pub(super) fn membership(args: &SecretArgs, name: &str) -> Result<Membership, Failure> {
    let usual = secret_credential().into_iter().chain(secret_place());
    let paths: Vec<PathBuf> = match args.secret_file.is_empty() {
        true => usual.filter(|path| is_there(path)).take(1).collect(),
        false => args.secret_file.clone(),
    };
    let shown: Vec<_> =
        paths.iter().map(|path| Shown(path.to_string_lossy()).to_string()).collect();
    let shown = shown.join(" and ");
    if args.no_secret && (!paths.is_empty() || env::var_os("P2PFS_SECRET_FILE").is_some()) {
        log::warn!(target: name, "the secret is ignored, as --no-secret wants: anybody can take part");
    }
    if args.no_secret || paths.is_empty() {
        return Ok(Membership { group: None, beacons: BeaconSettings::open() });
    }
    let secrets = paths.iter().map(|path| secret_in(path, name));
    let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
    let what = match args.also_open {
        true => "peers that have none take part, too",
        false => "only peers that have it take part",
    };
    log::info!(target: name, "the secret is in {shown}: {what}");
    let (seal_keys, also_open) = (secrets.iter().map(Secret::seal_key).collect(), args.also_open);
    Ok(Membership {
        group: Some(GroupSettings { seal_keys, also_open }),
        beacons: BeaconSettings::of_group(&secrets, also_open),
    })
}

/// Returns whether there is a secret, or something that has to be told of.
fn is_there(path: &Path) -> bool {
    !matches!(read_secret(path), Err(error) if is_absent(&error))
}

fn secret_in(path: &Path, name: &str) -> Result<Secret, Failure> {
    let shown = Shown(path.to_string_lossy());
    let refused = |error: SecretError| {
        let remedy = secret_remedy(&error, path);
        let message = format_args!("cannot use the secret in {shown}: {error}; {remedy}");
        Failure::new(ExitCode::Usage, message)
    };
    let (secret, is_readable) = read_secret(path).map_err(refused)?;
    if is_readable {
        log::warn!(target: name, "others can read the secret in {shown}");
    }
    Ok(secret)
}
