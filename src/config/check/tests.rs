mod breakers;
mod order;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::source::load_with;

/// A folder with a plugin, a program and a file that is none.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plugin.py"), "class Thumbs: ...\n").unwrap();
    fs::write(folder.path().join("notes.txt"), "\n").unwrap();
    fs::write(folder.path().join("program"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.path().join("program"), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn problems_in(folder: &Path, yaml: &str) -> Vec<Problem> {
    let file = folder.join("windlass.yaml");
    fs::write(&file, yaml).unwrap();
    let environment = |name: &str| (name == "TOKEN").then(|| "hunter2".to_owned());
    examine(Purpose::Work, Some(&file), &environment).2
}

const PLUGIN: &str = "executors: { run: { command: { run: [./program] } } }\n";
const ROUTE: &str = "routes: [{ type: t, run: run }]\n";

/// Checks a config around what is given; every problem must be `expected`: line, key, words of the message.
#[track_caller]
fn finds(yaml: &str, expected: &[(usize, &str, &str)]) {
    let folder = folder();
    let found = problems_in(folder.path(), yaml);
    let line = |problem: &Problem| problem.place.map_or(0, |at| at.line);
    let seen: Vec<(usize, &str)> = found.iter().map(|problem| (line(problem), problem.key.as_str())).collect();
    let wanted: Vec<(usize, &str)> = expected.iter().map(|(line, key, _)| (*line, *key)).collect();
    assert_eq!(seen, wanted, "{found:#?}");
    for (problem, (_, key, words)) in found.iter().zip(expected) {
        assert!(format!("{} {}", problem.message, problem.fix).contains(words), "{key}: {problem:#?}");
    }
}

#[test]
fn a_config_that_is_well_has_no_problems() {
    finds(&format!("{PLUGIN}{ROUTE}"), &[]);
}

#[test]
fn the_defaults_may_be_run_and_warn_that_nothing_is_routed() {
    let loaded = load_with(None, &|_| None).unwrap();
    assert_eq!(loaded.warnings.iter().map(|warning| warning.key.as_str()).collect::<Vec<_>>(), ["routes"]);
}

#[test]
fn names_that_lead_nowhere_are_named_with_what_was_probably_meant() {
    let yaml = "routes: [{ type: t, run: rnu, results: reslts }]\npools: { p: { from: [jbos, jobs], dead_letters: x } }\n\
                queues: { jobs: { memory: {} }, results: { memory: {} } }\n";
    finds(
        &format!("{PLUGIN}{yaml}"),
        &[
            (2, "routes[0].run", "write \"run\""),
            (2, "routes[0].results", "write \"results\""),
            (3, "pools.p.from[0]", "write \"jobs\""),
            (3, "pools.p.dead_letters", "jobs, results"),
            (1, "executors.run", "no route runs on it"),
            (4, "queues.results", "no pool takes from it"),
        ],
    );
}

#[test]
fn a_name_whose_block_has_a_fault_is_not_called_unknown() {
    let yaml = "executors: { run: { command: { run: [./program], wrokers: 1 } } }\nqueues: { jobs: { memory: 5 } }\n";
    let expected = [(1, "executors.run.command.wrokers", "workers"), (2, "queues.jobs.memory", "a block of keys")];
    finds(&format!("{yaml}{ROUTE}pools: {{ p: {{ from: [jobs] }} }}\n"), &expected);
    finds("executors: 7\nroutes: [{ type: t, run: run }]\n", &[(1, "executors", "a block of keys")]);
}

#[test]
fn a_queue_has_one_pool_and_one_block() {
    let yaml = "queues:\n  a: { embedded: {} }\n  b: { embedded: { queue: a } }\npools:\n  one: { from: [a, b] }\n  two: { from: [b] }\n  \
                none: { from: [] }\n";
    finds(
        &format!("{PLUGIN}{ROUTE}{yaml}"),
        &[
            (5, "queues.b", "same queue as \"a\""),
            (8, "pools.two.from[0]", "the pool \"one\" already"),
            (9, "pools.none.from", "no queue"),
        ],
    );
}

#[test]
fn a_pool_that_takes_its_own_results_is_warned_of() {
    let yaml = "pools: { p: { from: [jobs], results: jobs } }\n";
    finds(&format!("{PLUGIN}{ROUTE}{yaml}"), &[(3, "pools.p.results", "comes back as jobs")]);
    let yaml = "routes: [{ type: t, run: run, dead_letters: jobs }]\npools: { p: { from: [jobs] } }\n";
    finds(&format!("{PLUGIN}{yaml}"), &[(2, "routes[0].dead_letters", "comes back as jobs")]);
}

#[test]
fn routes_that_tie_or_put_a_star_inside_are_errors() {
    let yaml = "routes:\n  - { type: a, run: run }\n  - { type: \"*.a\", run: run }\n  - { type: a, run: run, version: 1 }\n  \
                - { type: a, run: run }\n  - { type: '', run: run }\n";
    finds(
        &format!("{PLUGIN}{yaml}"),
        &[
            (4, "routes[1].type", "only at the end"),
            (6, "routes[3].type", "the route in line 3"),
            (7, "routes[4].type", "name a job type"),
        ],
    );
}

#[test]
fn a_route_is_numbered_as_in_the_file_even_behind_one_at_fault() {
    let yaml = "routes:\n  - { run: run }\n  - { type: t, run: nowhere }\n";
    finds(&format!("{PLUGIN}{yaml}"), &[(3, "routes[0]", "\"type\" is missing"), (4, "routes[1].run", "no executor")]);
}

#[test]
fn numbers_that_make_no_sense_are_errors() {
    let yaml = "worker: { lease: 10ms, body_limit: 0 }\npools: { p: { from: [jobs], slots: 0 } }\n\
                executors: { run: { command: { run: [./program], workers: 0, concurrency: 0, exit_codes: { 0: failed, 300: failed } } } }\n\
                routes: [{ type: t, run: run, timeout: 0s, crashes: 0, retry: { attempts: 0, factor: 0.5, base: 2h, \
                classes: { failed: { attempts: 0, cap: 1s }, rejected: { attempts: 2 } } } }]\n";
    finds(
        yaml,
        &[
            (1, "worker.lease", "too short"),
            (1, "worker.body_limit", "too large"),
            (2, "pools.p.slots", "no job could run"),
            (3, "executors.run.command.workers", "no job could run"),
            (3, "executors.run.command.concurrency", "no job could run"),
            (3, "executors.run.command.exit_codes[0]", "success"),
            (3, "executors.run.command.exit_codes[300]", "1 to 255"),
            (4, "routes[0].timeout", "time out at once"),
            (4, "routes[0].crashes", "one too many"),
            (4, "routes[0].retry.cap", "shorter than base"),
            (4, "routes[0].retry.attempts", "an attempt, too"),
            (4, "routes[0].retry.factor", "shrink"),
            (4, "routes[0].retry.classes.failed.attempts", "an attempt, too"),
            (4, "routes[0].retry.classes.failed.cap", "shorter than base"),
            (4, "routes[0].retry.classes.rejected", "has no effect"),
        ],
    );
}

#[test]
fn shares_and_limits_that_let_no_job_run_are_errors_and_those_without_effect_are_told() {
    let yaml = "pools: { p: { from: [jobs], window: { jobs: 0, bytes: 0 }, tenants: { gold: { weight: 0 } } } }\n\
                executors: { run: { command: { run: [./program] } } }\n\
                routes: [{ type: a, run: run, weight: 0, concurrency: 0, order_by: key, per_key: { concurrency: 2 } }, \
                { type: b, run: run, order_hold: forever, order_scope: worker }, { type: c, run: run, rate_per_worker: 0/s }]\n";
    finds(
        yaml,
        &[
            (1, "pools.p.window.jobs", "no job could be taken"),
            (1, "pools.p.window.bytes", "no job could be taken"),
            (1, "pools.p.tenants.gold.weight", "never run"),
            (3, "routes[0].weight", "never run"),
            (3, "routes[0].concurrency", "never run"),
            (3, "routes[2].rate_per_worker", "let none start"),
            (3, "routes[0].per_key.concurrency", "one job of a key"),
            (3, "routes[1].order_hold", "without order_by"),
            (3, "routes[1].order_scope", "without order_by"),
        ],
    );
}

#[test]
fn the_byte_budget_must_hold_one_message_for_each_pool() {
    let yaml = "queues: { a: { memory: {} }, b: { memory: {} } }\npools: { a: { from: [a] }, b: { from: [b] } }\n";
    let expected = [(5, "worker.memory", "write 2MiB or more")];
    finds(&format!("{PLUGIN}{ROUTE}{yaml}worker: {{ memory: 1MiB }}\n"), &expected);
    finds(&format!("{PLUGIN}{ROUTE}{yaml}worker: {{ memory: 2MiB }}\n"), &[]);
}

#[test]
fn an_api_that_others_can_reach_needs_a_token() {
    let api = |text: &str| format!("{PLUGIN}{ROUTE}api: {text}\n");
    finds(&api("{ listen: 0.0.0.0:7780 }"), &[(3, "api.listen", "no token")]);
    finds(&api("{ listen: \"[::1]:7780\" }"), &[]);
    finds(&api("{ listen: 0.0.0.0:7780, token: env:PATH }"), &[]);
    finds(&api("{ listen: null }"), &[]);
    finds(&api("{ token: env:WINDLASS_NO_SUCH_VARIABLE }"), &[(3, "api.token", "not set")]);
    finds(&api("{ token: \"${TOKEN}\" }"), &[(3, "api.token", "write \"env:NAME\"")]);
}

#[test]
fn two_servers_cannot_share_a_port() {
    let ports = |api, telemetry| format!("{PLUGIN}{ROUTE}api: {{ listen: {api} }}\ntelemetry: {{ listen: {telemetry} }}\n");
    let expected = [(4, "telemetry.listen", "another port")];
    finds(&ports("127.0.0.1:9000", "127.0.0.1:9000"), &expected);
    finds(&ports("127.0.0.1:9000", "0.0.0.0:9000"), &expected);
    finds(&ports("127.0.0.1:9000", "127.0.0.2:9000"), &[]);
    finds(&ports("127.0.0.1:0", "127.0.0.1:0"), &[]);
    finds(&ports("localhost:1", "127.0.0.1:0"), &[(3, "api.listen", "127.0.0.1:7780")]);
}

#[test]
fn plugins_and_programs_must_be_there() {
    let yaml = "executors:\n  a: { python: { entry: plugin.py:Thumbs } }\n  b: { python: { entry: nowhere.py:Thumbs } }\n  \
                c: { python: { entry: plugin.py } }\n  d: { command: { run: [./nowhere] } }\n  e: { command: { run: [./notes.txt] } }\n  \
                f: { command: { run: [no-such-program-anywhere] } }\n  g: { command: { run: [] } }\n  \
                h: { command: { run: [sh], directory: nowhere, env: { KEY: file:nowhere, PLAIN: text } } }\n  \
                i: { python: { entry: plugin.py:Thumbs, python: no-such-python } }\n";
    let routes: String = ('a'..='i').map(|name| format!("  - {{ type: {name}, run: {name} }}\n")).collect();
    finds(
        &format!("{yaml}routes:\n{routes}"),
        &[
            (3, "executors.b.python.entry", "nowhere.py is not there"),
            (4, "executors.c.python.entry", "what to call"),
            (5, "executors.d.command.run", "nowhere is not there"),
            (6, "executors.e.command.run", "may not be executed"),
            (7, "executors.f.command.run", "on the PATH"),
            (8, "executors.g.command.run", "no program"),
            (9, "executors.h.command.directory", "is not there"),
            (10, "executors.i.python.python", "on the PATH"),
            (9, "executors.h.command.env.KEY", "file:nowhere"),
        ],
    );
}

#[test]
fn places_of_queues_and_their_decoding_are_looked_at() {
    let yaml = "queues:\n  a: { embedded: { path: no/such/folder/x.db } }\n  b: { embedded: { path: . }, decode: { raw: { pointer: kind } } }\n  \
                \"c d\": { memory: {}, decode: { raw: { header: '' } } }\n  e: { memory: {}, decode: { raw: {} } }\n\
                telemetry: { level: loud }\n";
    finds(
        &format!("{PLUGIN}{ROUTE}{yaml}"),
        &[
            (4, "queues.a.embedded.path", "create it first"),
            (5, "queues.b.embedded.path", "is a folder"),
            (5, "queues.b.decode.raw.pointer", "/event/kind"),
            (6, "queues.c d", "cannot be a name"),
            (6, "queues.c d.decode.raw.header", "name a header"),
            (7, "queues.e.decode.raw", "type, header, pointer"),
            (8, "telemetry.level", "is not a level"),
        ],
    );
}

#[test]
fn text_that_is_not_yaml_is_one_problem_with_its_place() {
    for (yaml, line, words) in [
        ("worker: {\n  grace: 5s\n", 1, "not YAML"),
        ("a: 1\n b: 2\n", 2, "not YAML"),
        ("worker: *nowhere\n", 1, "not YAML"),
        ("worker: !!map {}\n", 1, "tag"),
        ("worker: {}\n---\napi: {}\n", 2, "second document"),
        ("? [a]\n: b\n", 1, "key"),
    ] {
        finds(yaml, &[(line, "", words)]);
    }
    finds("worker: {}\nworker: {}\n", &[(2, "worker", "in line 1 already")]);
}

#[test]
fn aliases_are_read_and_a_bomb_of_them_is_not() {
    let yaml = "routes:\n  - { type: a, run: run, retry: &slow { base: 1m } }\n  - { type: b, run: run, retry: *slow }\n";
    finds(&format!("{PLUGIN}{yaml}"), &[]);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    finds(&bomb, &[(5, "", "more than 100000 values")]);
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_without_a_place() {
    let checked = check(Some(Path::new("no/such/windlass.yaml")));
    assert!(!checked.passed());
    assert!(checked.render().starts_with("no/such/windlass.yaml\n  error: cannot be read:"), "{}", checked.render());
}

#[test]
fn problems_are_shown_with_their_lines_and_as_json() {
    let folder = folder();
    let problems = problems_in(folder.path(), &format!("{PLUGIN}routes:\n  - {{ type: t, run: rnu }}\n"));
    let checked = Checked { text: fs::read_to_string(folder.path().join("windlass.yaml")).unwrap(), problems };
    let text = checked.render().replace(folder.path().to_str().unwrap(), "...");
    insta::assert_snapshot!(text, @r#"
    .../windlass.yaml:3:21
      error: routes[0].run: there is no executor "rnu"
      3 |   - { type: t, run: rnu }
        |                     ^
      fix: write "run"

    .../windlass.yaml:1:14
      warning: executors.run: no route runs on it
      1 | executors: { run: { command: { run: [./program] } } }
        |              ^
      fix: add a route, or remove it

    1 error, 1 warning
    "#);
    let json = serde_json::to_value(&checked).unwrap();
    assert_eq!((&json["problems"][0]["line"], &json["problems"][0]["severity"]), (&3.into(), &"error".into()));
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in "(worker|queues|routes|pools|executors)?:?[a-z0-9:\\- {}\\[\\],&*\"'\n#|>!?$%é]{0,120}") {
        let folder = tempfile::tempdir().unwrap();
        for problem in problems_in(folder.path(), &text) {
            prop_assert!(problem.place.is_none_or(|at| at.line >= 1 && at.column >= 1));
            prop_assert!(!problem.render(&text).is_empty());
        }
    }
}

#[test]
fn a_schedule_that_cannot_work_is_refused_with_what_would() {
    let yaml = "schedules:\n  a: { cron: '0 0 30 2 *', queue: jobs, type: t }\n  b: { cron: '0 25 * * *', queue: jobs, type: t }\n  \
                c: { cron: '0 7 * * *', zone: Europe/Viena, queue: jobs, type: t }\n  d: { queue: jbos, type: t }\n  \
                e: { every: 10ms, queue: raw, type: t, priority: 11 }\n  f: { every: 1m, cron: '@daily', queue: jobs, type: '' }\n  \
                g: { every: 1m, zone: UTC, jitter: 1h, queue: jobs, type: other }\n\
                queues: { jobs: { embedded: {} }, raw: { embedded: {}, decode: { raw: { type: t } } } }\n";
    let expected = [
        (4, "schedules.a.cron", "never due"),
        (5, "schedules.b.cron", "such as"),
        (6, "schedules.c.zone", "Europe/Vienna"),
        (7, "schedules.d", "write \"cron"),
        (7, "schedules.d.queue", "jobs"),
        (8, "schedules.e.every", "1s or more"),
        (8, "schedules.e.queue", "decode: envelope"),
        (8, "schedules.e.priority", "0 to 9"),
        (9, "schedules.f.every", "cron already"),
        (9, "schedules.f.type", "empty"),
        (10, "schedules.g.zone", "no effect"),
        (10, "schedules.g.jitter", "overtake"),
        (10, "schedules.g.type", "no route"),
    ];
    finds(&format!("{PLUGIN}{ROUTE}{yaml}"), &expected);
}

#[test]
fn what_must_remember_something_needs_a_place_for_it() {
    let schedule = "schedules: { a: { every: 1m, queue: jobs, type: t } }\nqueues: { jobs: { memory: {} } }\n";
    let fix = "state: { embedded: { path: windlass.db } }";
    finds(&format!("{PLUGIN}{ROUTE}{schedule}"), &[(3, "schedules.a", fix)]);
    finds(&format!("{PLUGIN}{ROUTE}{schedule}state: {{ memory: {{}} }}\n"), &[]);
    let nowhere = "state: { embedded: { path: nowhere/state.db } }\n";
    finds(&format!("{PLUGIN}{ROUTE}{schedule}{nowhere}"), &[(5, "state.embedded.path", "not there")]);
}

#[test]
fn an_expression_that_cannot_be_evaluated_is_refused_with_its_column() {
    let yaml = "queues:\n  jobs:\n    embedded: {}\n    where: 'job.tenant != \"test\" && dta.size < 1'\n    max_age: 0s\n  \
                b: { memory: {}, where: data.size < }\n";
    let expected = [
        (6, "queues.jobs.where", "no variable \"dta\""),
        (7, "queues.jobs.max_age", "too old"),
        (8, "queues.b.where", "at column 12"),
    ];
    finds(&format!("{PLUGIN}{ROUTE}{yaml}"), &expected);
    let found = problems_in(folder().path(), &format!("{PLUGIN}{ROUTE}{yaml}"));
    let columns: Vec<usize> = found.iter().filter_map(|problem| problem.place).map(|place| place.column).collect();
    assert_eq!(columns, [13 + 24, 14, 27 + 11]);
}

#[test]
fn what_a_route_says_about_other_jobs_must_lead_somewhere() {
    let yaml = "routes:\n  - { type: a, run: run, then: b }\n  - { type: 'b*', run: run, then: { type: a, queue: jbos } }\n  \
                - { type: c, run: run, then: { type: d, queue: raw, key: reslt.x }, unique: { key: data., for: 1h } }\n  \
                - { type: e, run: run, then: e }\n  - { type: f, run: run, then: { type: '' } }\n\
                queues: { jobs: { memory: {} }, raw: { memory: {}, decode: { raw: { type: t } } } }\npools: { p: { from: [jobs] } }\n";
    let expected = [
        (3, "routes[0].then", "a, then b*, then a"),
        (4, "routes[1].then.type", "circle"),
        (4, "routes[1].then.queue", "jobs"),
        (5, "routes[2].then.key", "no variable \"reslt\"; there are job, data and result"),
        (5, "routes[2].then.queue", "takes any body"),
        (5, "routes[2].unique.key", "column"),
        (5, "routes[2].unique", "needs a state store"),
        (6, "routes[3].then", "e, then e"),
        (7, "routes[4].then.type", "empty"),
    ];
    let mut found: Vec<_> = problems_in(folder().path(), &format!("{PLUGIN}{yaml}"));
    found.retain(|problem| problem.is_error());
    let seen: BTreeSet<(usize, &str)> =
        found.iter().map(|problem| (problem.place.map_or(0, |at| at.line), problem.key.as_str())).collect();
    assert_eq!(seen, expected.iter().map(|(line, key, _)| (*line, *key)).collect(), "{found:#?}");
    for (_, key, words) in expected {
        let told = |problem: &&Problem| problem.key == key && format!("{} {}", problem.message, problem.fix).contains(words);
        assert!(found.iter().any(|problem| told(&problem)), "{key}: {found:#?}");
    }
}
