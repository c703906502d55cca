//! Surroundings in which little is there: no network but the machine's own, no name
//! service, no variable, a current folder and a user who may write nowhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kit::{Missing, Need, is_root, tools};
use tempfile::TempDir;

use crate::turns::beside_others;

/// A network namespace of its own, with a user of its own.
static UNSHARED: Need = Need::new(|| {
    is_root()?;
    tools(&["unshare", "setpriv", "ip"])?;
    let output = Command::new("unshare").args(["--net", "true"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let may = output.status.success();
    if may { Ok(()) } else { Err(Missing::Kernel("network namespaces", error)) }
});
kit::tests! {
    UNSHARED:
        the_loopback_is_all_the_network_that_is_needed,
        without_any_network_there_is_help_and_a_clear_answer,
        a_user_who_may_write_nowhere_shares_and_fetches;
}

/// A folder that everybody may look into, with the program, a folder `shared` with one
/// file, an empty folder `got` that everybody may write to, and nothing else.
fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    set_mode(place.path(), 0o755);
    // By a process of its own: one that is started here meanwhile would keep the file open for
    // writing until it is another program, and a file that is being written to cannot be run.
    let copied = Command::new("cp").arg(kit::program()).arg(place.path()).status().unwrap();
    assert!(copied.success());
    for folder in ["shared", "got"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    set_mode(&place.path().join("got"), 0o777);
    fs::write(place.path().join("shared/file"), b"content").unwrap();
    place
}

/// Runs a script with no variable but the way to the tools of the system.
fn run(launcher: &[&str], folder: &Path, script: &str) -> Output {
    let line = [launcher, &["sh", "-e", "-u", "-c", script]].concat();
    Command::new(line[0])
        .args(&line[1..])
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_succeeds(output: &Output) {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
}

/// Everything on the usual ports of a machine of its own: a sharer and a getter find
/// each other, and nobody asks for a name.
const DAILY_USE: &str = r#"
./p2pfs registry >/dev/null 2>&1 & registry=$!
./p2pfs share --offer-interval 200ms shared >/dev/null 2>&1 & share=$!
trap 'kill $registry $share' EXIT
./p2pfs get -q file -o got --offer-interval 200ms --timeout 50s
cmp shared/file got/file
./p2pfs list --wait 1s | grep -q file
./p2pfs doctor --offer-interval 200ms 2>&1 | grep "files can be exchanged"
"#;

fn the_loopback_is_all_the_network_that_is_needed() {
    let _turn = beside_others();
    let launcher = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    assert_succeeds(&run(&launcher, place().path(), DAILY_USE));
}

fn without_any_network_there_is_help_and_a_clear_answer() {
    let _turn = beside_others();
    let launcher = ["unshare", "--net"];
    let script = "for line in --help --version man 'completions bash' 'get --help'; do
        ./p2pfs $line >/dev/null
    done
    for line in 'get x --timeout 200ms' 'get x --registry nobody'; do
        ./p2pfs -q $line && exit 99 || test $? = 4
    done
    ./p2pfs -q doctor --offer-interval 50ms && exit 99 || test $? = 1
    ./p2pfs list --wait 50ms || test $? = 3";
    let output = run(&launcher, place().path(), script);
    assert_succeeds(&output);
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(complaints.matches("p2pfs: ").count(), 4, "{complaints}");
    assert!(complaints.contains("the registry's host nobody"), "{complaints}");
}

fn a_user_who_may_write_nowhere_shares_and_fetches() {
    let _turn = beside_others();
    // Nobody, where the loopback is their own.
    let script =
        "ip link set lo up && exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let launcher = ["unshare", "--net", "sh", "-c", script, "sh"];
    let place = place();
    assert_succeeds(&run(&launcher, place.path(), DAILY_USE));
    assert_eq!(names_in(&place.path().join("got")), ["file"]);
    assert_eq!(names_in(place.path()), ["got", "p2pfs", "shared"]);

    // What cannot be read is not said to be shared.
    let secret = place.path().join("shared/secret");
    fs::write(&secret, b"of another user").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let sharing = "
        ./p2pfs registry >/dev/null 2>&1 & trap 'kill $!' EXIT
        sh -c 'echo $$; exec ./p2pfs share shared 2>&1' |
            { read share; sed '/^sharing/q'; kill $share; }";
    let output = run(&launcher, place.path(), sharing);
    assert_succeeds(&output);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("not shared: secret: permission denied"), "{said}");
    assert!(said.contains("sharing 1 file of"), "{said}");
    fs::remove_file(&secret).unwrap();

    // Where a file cannot be put, that is what is said.
    let into_this_folder = DAILY_USE.replace("-o got ", "");
    let output = run(&launcher, place.path(), &into_this_folder);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(8), "{complaint}");
    assert!(complaint.contains("Permission denied"), "{complaint}");
    assert_eq!(names_in(place.path()), ["got", "p2pfs", "shared"]);
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}
