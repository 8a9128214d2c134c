use crate::workshop::{Workshop, timeless};

/// A workshop with dead letters: cancelled jobs of two types.
fn with_dead_letters() -> Workshop {
    let workshop = Workshop::new();
    for id in ["mail-1", "mail-2", "mail-3"] {
        workshop.run(&["submit", "mail.send", r#"{"to": "ann"}"#, "--id", id]).done();
    }
    workshop.run(&["submit", "invoice.render", "--id", "invoice-1"]).done();
    workshop.run(&["jobs", "cancel", "mail-1", "mail-2", "mail-3", "invoice-1"]).done();
    workshop
}

fn dead(workshop: &Workshop) -> Vec<String> {
    let listed = workshop.run(&["dead-letters", "list", "--json"]).documents();
    listed.iter().map(|entry| entry["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn dead_letters_are_listed_grouped_and_shown() {
    let workshop = with_dead_letters();
    let mut pages = workshop.run(&["dead-letters", "list"]).done();
    pages.push_str(&workshop.run(&["dead-letters", "list", "--group-by", "type"]).done());
    pages.push_str(&workshop.run(&["dead-letters", "show", "invoice-1"]).done());
    insta::assert_snapshot!("dead_letters", timeless(&pages));
    let groups = workshop.run(&["dead-letters", "list", "--group-by", "type", "--json"]).documents();
    assert_eq!((&groups[0]["value"], &groups[0]["count"]), (&"mail.send".into(), &3.into()));
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let workshop = with_dead_letters();
    let said = workshop.run(&["dead-letters", "replay", "--type", "mail.*", "--dry-run"]).done();
    assert_eq!(said, "3 dead letters would be replayed: mail-1, mail-2, mail-3\n");
    assert_eq!(dead(&workshop).len(), 4);
}

#[test]
fn a_filter_replays_what_it_names_and_nothing_else() {
    let workshop = with_dead_letters();
    let said = workshop.run(&["dead-letters", "replay", "--type", "mail.*", "--reason", "aborted"]).done();
    assert_eq!(said, "3 dead letters replayed\n");
    assert_eq!(dead(&workshop), ["invoice-1"]);
    let shown = &workshop.run(&["jobs", "show", "mail-1", "--json"]).documents()[0];
    assert_eq!((&shown["state"], &shown["life"]["replay"]), (&"waiting".into(), &1.into()));
}

#[test]
fn a_limit_and_a_rate_replay_in_steps() {
    let workshop = with_dead_letters();
    assert_eq!(workshop.run(&["dead-letters", "replay", "--all", "--limit", "1"]).done(), "1 dead letter replayed\n");
    assert_eq!(workshop.run(&["dead-letters", "replay", "--all", "--rate", "1/10ms"]).done(), "3 dead letters replayed\n");
    assert!(dead(&workshop).is_empty());
    assert_eq!(workshop.run(&["dead-letters", "replay", "--all"]).done(), "0 dead letters replayed\n");
}

#[test]
fn ids_are_discarded_by_name_and_the_one_who_did_it_stands_in_the_record() {
    let workshop = with_dead_letters();
    let ran = workshop.run(&["dead-letters", "discard", "mail-1", "nope"]);
    assert_eq!(ran.out, "mail-1  discarded\n");
    assert!(ran.failed(4).contains("nope"));
    let shown = &workshop.run(&["jobs", "show", "mail-1", "--json"]).documents()[0];
    assert_eq!(shown["state"], "discarded");
    assert!(workshop.run(&["dead-letters", "show", "mail-1"]).failed(1).contains("discarded"));
    assert_eq!(workshop.run(&["dead-letters", "discard", "--all"]).done(), "3 dead letters discarded\n");
}
