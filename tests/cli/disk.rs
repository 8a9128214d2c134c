#![expect(clippy::unwrap_used, reason = "a test's tools: what fails here fails the test")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::unistd::Uid;

use crate::workshop::Workshop;

/// Nobody's.
const STRANGER: u32 = 65_534;

/// Runs a script on a small disk of its own, in a user namespace; none where the machine forbids that, which is a failure
/// under `./test --strict`.
pub fn on_small_disk(workshop: &Workshop, script: &str) -> Option<String> {
    let mount = "mkdir disk && mount -t tmpfs -o size=2m tmpfs disk && cd disk";
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-ec", script]).current_dir(workshop.path());
        command.env("WINDLASS", env!("CARGO_BIN_EXE_windlass")).env_remove("WINDLASS_CONFIG").output()
    };
    if !namespace("mkdir tried && mount -t tmpfs tmpfs tried").is_ok_and(|tried| tried.status.success()) {
        let why = "this machine allows no mount in a user namespace (unshare -Urm)";
        assert!(std::env::var_os("WINDLASS_STRICT").is_none(), "{why}");
        // past the test harness, which keeps what a test that passes has printed
        let told = format!("COULD NOT RUN a test on mounts of its own (disks, control groups): {why}\n");
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return None;
    }
    let ran = namespace(&format!("{mount}\n{script}")).unwrap_or_else(|error| panic!("{error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    Some(said)
}

#[test]
fn a_worker_goes_on_by_itself_when_its_full_disk_has_room_again() {
    let script = r#"
cat > windlass.yaml <<'end'
api: { listen: 127.0.0.1:0 }
telemetry: { listen: 127.0.0.1:0 }
executors: { cat: { command: { run: [cat] } } }
routes: [{ type: echo, run: cat }]
end
$WINDLASS run 2>../log & worker=$!
$WINDLASS submit echo '"before"' --wait 60s
head -c 4000000 /dev/zero > filler 2>/dev/null || true
large=$(head -c 50000 /dev/zero | tr '\0' x)
tries=0
while echo "{\"type\": \"echo\", \"delay\": \"1h\", \"data\": \"$large\"}" | $WINDLASS submit --file - 2>../refusal; do
  tries=$((tries + 1)); [ $tries -lt 200 ]
done
cat ../refusal
rm filler
$WINDLASS submit echo '"after"' --wait 60s
$WINDLASS audit
kill $worker; wait $worker
"#;
    let Some(said) = on_small_disk(&Workshop::new(), script) else { return };
    assert!(said.contains("\"before\"") && said.contains("\"after\""), "{said}");
    assert!(said.contains("full; free space on its disk") && said.contains("nothing was submitted"), "{said}");
    assert!(said.contains("nothing was lost"), "{said}");
}

#[test]
fn a_store_on_a_disk_that_became_read_only_is_refused_and_keeps_its_jobs() {
    let script = r#"
$WINDLASS submit echo --id kept
mount -o remount,bind,ro .
for command in "submit echo" run; do
  if $WINDLASS $command; then exit 1; fi
done
mount -o remount,bind,rw .
$WINDLASS jobs list
"#;
    let Some(said) = on_small_disk(&Workshop::new(), script) else { return };
    assert_eq!(said.matches("windlass.db cannot be written: Read-only file system").count(), 2, "{said}");
    assert!(said.contains("kept  echo  waiting"), "{said}");
}

#[test]
fn a_folder_where_nothing_can_be_made_is_refused_by_every_way_in() {
    let workshop = Workshop::new();
    workshop.write("windlass.yaml", "queues: { jobs: { embedded: { path: /proc/windlass.db } } }\n");
    for command in [&["submit", "x"][..], &["run"]] {
        let ran = workshop.run(command);
        assert!(ran.code == 5 && ran.err.contains("/proc/windlass.db cannot be written"), "{ran:?}");
    }
}

/// Runs a command as somebody who has no rights in the workshop.
fn as_stranger(workshop: &Workshop, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = workshop.command(arguments);
    if Uid::effective().is_root() {
        command.uid(STRANGER).gid(STRANGER);
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Lets everybody look at a folder and what is in it, and nobody change it or use its sockets.
fn look_only(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        set_mode(&path, if path.extension().is_some_and(|end| end == "sock") { 0o000 } else { 0o444 });
    }
    set_mode(folder, 0o555);
}

const LOOKING: [&[&str]; 5] =
    [&["jobs", "list"], &["queues", "list"], &["dead-letters", "list"], &["audit"], &["jobs", "show", "a"]];

#[test]
fn a_user_without_rights_is_told_whose_the_store_is_and_what_to_do() {
    let mut workshop = Workshop::new();
    let data = workshop.path().join("data");
    fs::create_dir(&data).unwrap();
    let queues = "queues: { jobs: { embedded: { path: data/windlass.db } } }";
    workshop.write("windlass.yaml", &format!("api: {{ listen: null }}\ntelemetry: {{ listen: null }}\n{queues}\n"));
    set_mode(workshop.path(), 0o755);
    workshop.run(&["submit", "x", "--id", "a"]).done();
    let owner = nix::unistd::User::from_uid(Uid::effective()).unwrap().unwrap().name;
    // without a worker: the file and its folder can be read
    look_only(&data);
    for command in LOOKING {
        let (code, err) = as_stranger(&workshop, command);
        assert_eq!(code, Some(5), "{command:?}: {err}");
        assert!(err.contains("data/windlass.db cannot be written: Permission denied"), "{command:?}: {err}");
        assert!(err.contains("give this user the right to write the file and its directory"), "{command:?}: {err}");
    }
    // with one
    set_mode(&data, 0o755);
    fs::read_dir(&data).unwrap().for_each(|entry| set_mode(&entry.unwrap().path(), 0o644));
    workshop.start_worker();
    look_only(&data);
    let told = |command: &[&str]| {
        let (code, err) = as_stranger(&workshop, command);
        assert_eq!(code, Some(5), "{command:?}: {err}");
        assert!(err.contains(&format!("data/windlass.db.sock is for {owner} alone")), "{command:?}: {err}");
        assert!(err.contains(&format!("run the command as {owner}")), "{command:?}: {err}");
    };
    LOOKING.iter().for_each(|command| told(command));
    // where not even the folder can be entered
    set_mode(&data, 0o000);
    LOOKING.iter().for_each(|command| told(command));
    set_mode(&data, 0o755);
}
