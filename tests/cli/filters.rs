//! Every filter of the dead letters, with what it matches and what it does not.

use crate::workshop::{Workshop, until};

const CONFIG: &str = r#"
api: { listen: null }
telemetry: { listen: null }
queues:
  jobs: { embedded: { path: windlass.db } }
  mail: { embedded: { path: mail.db } }
executors:
  no: { command: { run: [sh, -c, "echo 'no such invoice' >&2; exit 1"] } }
  reject: { command: { run: [sh, -c, "exit 65"] } }
  long: { command: { run: [sleep, "1000"] } }
routes:
  - { type: "invoice.*", run: "no", retry: { attempts: 1 } }
  - { type: "image.*", run: reject }
  - { type: long, run: long, timeout: 100ms, retry: { attempts: 1 } }
pools: { default: { from: [jobs, mail] } }
"#;

const JOBS: &str = r#"{"id":"a","type":"invoice.render","tenant":"acme","data":{"to":"eve"}}
{"id":"b","type":"image.resize","tenant":"acme","data":{"to":"bob"}}
{"id":"c","type":"long","tenant":"bits","data":{"to":"eve"}}
"#;

fn with_dead_letters() -> Workshop {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", CONFIG);
    workshop.feed(&["submit", "--file", "-", "--queue", "jobs"], JOBS).done();
    workshop.run(&["submit", "invoice.send", "--id", "d", "--queue", "mail"]).done();
    workshop.start_worker();
    until("four are dead", || dead(&workshop, &[]).len() == 4);
    workshop.run(&["submit", "x", "--id", "cancelled", "--delay", "1h", "--queue", "jobs"]).done();
    workshop.run(&["jobs", "cancel", "cancelled"]).done();
    workshop
}

fn dead(workshop: &Workshop, filter: &[&str]) -> Vec<String> {
    let listed = workshop.run(&[&["dead-letters", "list", "--all", "--json"], filter].concat()).documents();
    let mut ids: Vec<String> = listed.iter().map(|entry| entry["id"].as_str().unwrap_or_default().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn every_filter_lists_and_would_replay_what_matches_and_nothing_else() {
    let workshop = with_dead_letters();
    let everything = ["a", "b", "c", "cancelled", "d"];
    let cases: [(&[&str], &[&str]); 24] = [
        (&["--reason", "failed"], &["a", "d"]),
        (&["--reason", "poison"], &[]),
        (&["--class", "timeout"], &["c"]),
        (&["--class", "rejected"], &["b"]),
        (&["--class", "crashed"], &[]),
        (&["--type", "invoice.*"], &["a", "d"]),
        (&["--type", "invoice.render"], &["a"]),
        (&["--type", "invoice"], &[]),
        (&["--route", "invoice.*"], &["a", "d"]),
        (&["--route", "long"], &["c"]),
        (&["--route", "invoice.render"], &[]),
        (&["--tenant", "acme"], &["a", "b"]),
        (&["--tenant", "default"], &["cancelled", "d"]),
        (&["--tenant", "ac"], &[]),
        (&["--older-than", "1ms"], &everything),
        (&["--older-than", "1h"], &[]),
        (&["--newer-than", "1h"], &everything),
        (&["--newer-than", "1ms"], &[]),
        (&["--text", "eve"], &["a", "c"]),
        (&["--text", "no such invoice"], &["a", "d"]),
        (&["--text", "nowhere"], &[]),
        (&["--queue", "mail"], &["d"]),
        (&["--tenant", "acme", "--text", "eve", "--class", "failed"], &["a"]),
        (&["--tenant", "bits", "--class", "failed"], &[]),
    ];
    for (filter, ids) in cases {
        assert_eq!(dead(&workshop, filter), ids, "{filter:?}");
        let said = workshop.run(&[&["dead-letters", "replay", "--dry-run"], filter].concat()).done();
        let letters = if ids.len() == 1 { "letter" } else { "letters" };
        assert!(said.starts_with(&format!("{} dead {letters} would be replayed", ids.len())), "{filter:?}: {said}");
        assert!(ids.iter().all(|id| said.contains(id)), "{filter:?}: {said}");
    }
    assert_eq!(dead(&workshop, &[]), everything, "a dry run changes nothing");
}

#[test]
fn what_a_filter_replays_is_gone_and_the_rest_stays() {
    let mut workshop = with_dead_letters();
    workshop.stop_worker();
    for (filter, left) in [
        (["--route", "long"], &["a", "b", "cancelled", "d"][..]),
        (["--class", "rejected"], &["a", "cancelled", "d"]),
        (["--text", "eve"], &["cancelled", "d"]),
        (["--older-than", "1h"], &["cancelled", "d"]),
        (["--queue", "mail"], &["cancelled"]),
        (["--tenant", "default"], &[]),
    ] {
        workshop.run(&[&["dead-letters", "replay"][..], &filter].concat()).done();
        assert_eq!(dead(&workshop, &[]), left, "{filter:?}");
    }
}
