use std::process::Command;

use crate::workshop::Workshop;

/// Runs a script on a small disk of its own, in a user namespace; none where the machine forbids that, as `./test` says too.
pub fn on_small_disk(workshop: &Workshop, script: &str) -> Option<String> {
    let mount = "mkdir disk && mount -t tmpfs -o size=2m tmpfs disk && cd disk";
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-ec", script]).current_dir(workshop.path());
        command.env("WINDLASS", env!("CARGO_BIN_EXE_windlass")).env_remove("WINDLASS_CONFIG").output()
    };
    if !namespace("mkdir tried && mount -t tmpfs tmpfs tried").is_ok_and(|tried| tried.status.success()) {
        eprintln!("could not run: this machine allows no mount in a user namespace (unshare -Urm)");
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
mount -o remount,ro .
for command in "submit echo" run; do
  if $WINDLASS $command; then exit 1; fi
done
mount -o remount,rw .
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
