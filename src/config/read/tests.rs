use super::*;
use crate::config::Config;
use crate::config::yaml::parse;

fn problems(yaml: &str) -> Vec<(usize, String, String)> {
    let (_, problems) = read::<Config>(&parse(yaml).unwrap().root);
    let line = |problem: &Problem| problem.place.map_or(0, |at| at.line);
    let mut seen: Vec<_> = problems.iter().map(|problem| (line(problem), problem.key.clone(), problem.message.clone())).collect();
    seen.sort();
    seen
}

#[test]
fn every_fault_is_found_at_once_and_at_its_place() {
    let seen = problems(
        "worker:\n  grace: 25\n  lesae: 30s\nqueues:\n  jobs: { embedded: { path: [] } }\n  more: { kafka: {} }\nexecutors:\n  \
         a: { command: { run: [x], workers: many } }\n  b: { pyhton: { entry: x } }\n  c: { python: { workers: -1 } }\nroutes:\n  \
         - { type: t, run: a, timeout: soon, retry: { attempts: 1.5, classes: { timout: {} } } }\n  - { type: t }\npools: 7\n",
    );
    let places: Vec<(usize, &str)> = seen.iter().map(|(line, key, _)| (*line, key.as_str())).collect();
    assert_eq!(
        places,
        [
            (2, "worker.grace"),
            (3, "worker.lesae"),
            (5, "queues.jobs.embedded.path"),
            (6, "queues.more.kafka"),
            (8, "executors.a.command.workers"),
            (9, "executors.b.pyhton"),
            (10, "executors.c.python"),
            (10, "executors.c.python.workers"),
            (12, "routes[0].retry.attempts"),
            (12, "routes[0].retry.classes.timout"),
            (12, "routes[0].timeout"),
            (13, "routes[1]"),
            (14, "pools"),
        ],
        "{seen:#?}"
    );
}

#[test]
fn a_fault_has_no_second_fault_that_only_follows_from_it() {
    assert_eq!(problems("routes: [{ tpye: t, run: x }]").len(), 1);
    assert_eq!(problems("routes: [{ type: [], run: x }]").len(), 1);
    assert_eq!(problems("queues: { q: { embedded: 5 } }").len(), 1);
    assert_eq!(problems("queues: { q: { embeded: {} } }").len(), 1);
    assert_eq!(problems("executors: { e: { command: { run: 5 } } }").len(), 1);
}

#[test]
fn a_key_that_is_missing_beside_an_unrelated_fault_is_still_missed() {
    let seen = problems("routes: [{ colour: red }]");
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn what_looks_like_a_number_is_text_where_text_belongs() {
    let yaml = "{ routes: [{ type: t, run: no, version: 1.10 }], worker: { name: 007 } }";
    let (config, problems) = read::<Config>(&parse(yaml).unwrap().root);
    assert_eq!(problems, []);
    let config = config.unwrap();
    assert_eq!((config.routes[0].version.as_deref(), &*config.routes[0].run), (Some("1.10"), "no"));
    assert_eq!(config.worker.name.as_deref(), Some("007"));
}

#[test]
fn a_heading_with_nothing_below_it_is_an_empty_block() {
    let (config, problems) = read::<Config>(&parse("worker:\nroutes:\nqueues:\n  a: { memory: {} }\n").unwrap().root);
    assert_eq!((config.map(|config| config.routes.len()), problems), (Some(0), vec![]));
}

#[test]
fn a_value_from_the_environment_is_not_repeated_in_a_message() {
    let mut root = parse("worker: { grace: \"${SECRET}\" }").unwrap().root;
    crate::config::interpolate::interpolate(&mut root, &|_| Some("hunter2".into()));
    let (_, problems) = read::<Config>(&root);
    assert!(problems[0].message.contains("${SECRET}"), "{problems:?}");
    assert!(!format!("{problems:?}").contains("hunter2"));
}
