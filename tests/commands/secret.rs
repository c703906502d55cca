//! `p2pfs secret`, and which secret a command uses.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use kit::{Launch, Output, World};

/// A world with a secret at its usual place.
fn world() -> World {
    let world = World::new();
    let made = with_config(&world, &["secret"]).output();
    let place = world.path().join("config/p2pfs/secret");
    assert_eq!((made.code, made.stdout), (Some(0), format!("{}\n", place.display())));
    world
}

fn with_config(world: &World, arguments: &[&str]) -> Launch {
    world.program(arguments).env("XDG_CONFIG_HOME", world.path().join("config"))
}

/// What `list` says, which finds nothing.
fn listed(world: &World, options: &[&str], variables: &[(&str, &str)]) -> Output {
    let broadcast = world.broadcast().to_string();
    let arguments = [&["list", "--wait", "50ms", "--broadcast", &broadcast], options].concat();
    let launch = with_config(world, &arguments);
    variables.iter().fold(launch, |launch, (name, value)| launch.env(name, *value)).output()
}

const NOTED: &str = "only peers that have it take part";

#[test]
fn a_secret_is_made_once_and_for_nobody_else() {
    let world = world();
    let place = world.path().join("config/p2pfs/secret");
    let text = fs::read_to_string(&place).unwrap();
    assert!(text.len() == 65 && text.trim_end().bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
    let again = with_config(&world, &["secret"]).output();
    assert_eq!((again.code, &*again.stdout), (Some(9), ""), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&place).unwrap(), text);
    let other = with_config(&world, &["secret", "--secret-file", "other", "--json"]).output();
    assert!(other.stdout.contains(r#""place":"other""#), "{}", other.stdout);
    let other = fs::read_to_string(world.path().join("other")).unwrap();
    assert!(other != text && other.len() == 65);
    let nowhere = world.program(&["secret"]).output();
    assert!(nowhere.code == Some(1) && nowhere.stderr.contains("--secret-file"));
}

#[test]
fn the_secret_at_its_usual_place_is_used_and_told_unless_another_or_none_is_wanted() {
    let world = world();
    with_config(&world, &["secret", "--secret-file", "other"]).output();
    let usual = listed(&world, &[], &[]);
    assert!(usual.stderr.lines().next().unwrap().contains("config/p2pfs/secret"), "{usual:?}");
    assert!(usual.stderr.contains(NOTED));
    let other = listed(&world, &["--secret-file", "other"], &[]);
    assert!(other.stderr.contains("the secret is in other: only"), "{other:?}");
    let variable = ("P2PFS_SECRET_FILE", "other");
    let by_variable = listed(&world, &[], &[variable]);
    assert!(by_variable.stderr.contains("the secret is in other: only"), "{by_variable:?}");
    let folder = world.path().join("credentials");
    fs::create_dir(&folder).unwrap();
    let credential = folder.join("p2pfs-secret");
    fs::copy(world.path().join("other"), &credential).unwrap();
    let variable = ("CREDENTIALS_DIRECTORY", folder.to_str().unwrap());
    let of_service = listed(&world, &[], &[variable]);
    assert!(of_service.stderr.contains(credential.to_str().unwrap()), "{of_service:?}");
    let variable = ("P2PFS_SECRET_FILE", "other");
    let open = listed(&world, &["--also-open"], &[]);
    assert!(open.stderr.contains("peers that have none take part, too"), "{open:?}");

    for variables in [&[][..], &[variable]] {
        let none = listed(&world, &["--no-secret"], variables);
        assert!(!none.stderr.contains(NOTED), "{none:?}");
        assert!(none.stderr.contains("as --no-secret wants"), "{none:?}");
    }
    let by_variable = listed(&world, &[], &[("P2PFS_NO_SECRET", "1")]);
    assert!(by_variable.stderr.contains(NOTED), "no variable takes it away: {by_variable:?}");
    for wrong in [
        &["--no-secret", "--secret-file", "other"][..],
        &["--secret-file", "a", "--secret-file", "b", "--secret-file", "c"],
    ] {
        assert_eq!(listed(&world, wrong, &[]).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn a_file_that_is_no_secret_or_not_one_any_more_stops_a_command() {
    let world = world();
    let place = world.path().join("config/p2pfs/secret");
    let refused = |why: &str| {
        for (command, more) in [("share", "."), ("get", "a"), ("list", "a")] {
            let output = with_config(&world, &[command, more]).output();
            assert_eq!(output.code, Some(2), "{output:?}");
            assert!(output.stderr.contains(why), "{output:?}");
        }
    };
    for (mode, why) in
        [(0o644, "others can read it; `chmod 600 "), (0o622, "others can write to it")]
    {
        fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
        refused(why);
    }
    fs::set_permissions(&place, Permissions::from_mode(0o600)).unwrap();
    fs::write(&place, "not a secret\n").unwrap();
    refused("it does not hold 64 hexadecimal digits");
    fs::remove_file(&place).unwrap();
    let absent = with_config(&world, &["get", "a", "--secret-file", "absent"]).output();
    assert!(absent.code == Some(2) && absent.stderr.contains("cannot use the secret in absent"));
    // None at the usual place is no error.
    assert_eq!(listed(&world, &[], &[]).code, Some(3));
}

#[test]
fn peers_that_have_another_secret_are_told_of_where_nothing_is_found() {
    let world = world();
    world.folder("mine", &[("file", b"content")]);
    let config = world.path().join("config");
    let share = world.command(&["share", "mine"]).env("XDG_CONFIG_HOME", &config).start();
    share.await_listening();
    let told = "peers are near that have a secret which this program has not";
    // Beacons come every 6 s at most.
    let get = world.start(&["get", "file", "--timeout", "8s"]);
    assert_eq!(get.await_exit_code(), 3, "{}", get.said());
    assert!(get.complaint().contains(told), "{}", get.said());
    // Members answer no query of others: it hears the beacons that they send anyway.
    let doctor = world.start(&["doctor", "--offer-interval", "6s"]);
    assert_eq!(doctor.await_exit_code(), 3, "{}", doctor.said());
    assert!(doctor.complaint().contains(told), "{}", doctor.said());
    let member = world.command(&["doctor"]).env("XDG_CONFIG_HOME", &config).start();
    assert_eq!(member.await_exit_code(), 0, "{}", member.said());
}
