use super::*;
use crate::ports::Order;

/// What is found in a file whose queues all keep this order.
fn found(order: Order, route: &str) -> Vec<Problem> {
    let folder = folder();
    let file = folder.path().join("windlass.yaml");
    fs::write(&file, format!("{PLUGIN}routes:\n  - {{ run: run }}\n  - {{ type: t, run: run, order_by: key{route} }}\n"))
        .unwrap();
    let (source, config, _) = examine(Purpose::Work, Some(&file), &|_| None);
    let (config, routes) = (config.unwrap(), vec!["1".to_owned()]);
    let mut inspection = Inspection { source: &source, config: &config, routes, problems: Vec::new() };
    inspection.order(|_| order);
    inspection.problems
}

#[test]
fn order_that_a_queue_keeps_within_a_worker_only_is_an_error_until_the_route_says_it_is_enough() {
    let [problem] = &found(Order::Worker, "")[..] else { panic!("not one problem") };
    let at = problem.place.unwrap();
    assert_eq!((problem.key.as_str(), at.line, problem.is_error()), ("routes[1].order_by", 4, true));
    assert!(problem.message.contains("the queue \"jobs\"") && problem.fix.contains("order_scope: worker"), "{problem:?}");
    assert_eq!(found(Order::Worker, ", order_scope: worker"), []);
    assert_eq!(found(Order::Key, ""), []);
}

#[test]
fn order_of_a_queue_that_keeps_none_is_an_error_whatever_the_route_says() {
    for said in ["", ", order_scope: worker"] {
        let [problem] = &found(Order::None, said)[..] else { panic!("not one problem") };
        assert!(problem.message.contains("keeps no order") && problem.fix.contains("remove order_by"), "{problem:?}");
    }
}

#[test]
fn the_kinds_there_are_keep_the_order_of_keys() {
    finds(
        &format!(
            "{PLUGIN}routes: [{{ type: t, run: run, order_by: key }}]\nqueues: {{ a: {{ memory: {{}} }}, b: {{ embedded: {{}} }} }}\n"
        ),
        &[],
    );
}

#[test]
fn a_run_that_its_server_would_take_back_is_an_error_with_what_to_change() {
    let found = |queue: &str, timeout: &str| {
        let folder = folder();
        let file = folder.path().join("windlass.yaml");
        let queues = format!("queues: {{ jobs: {{ {queue} }} }}\n");
        fs::write(&file, format!("{PLUGIN}{queues}routes:\n  - {{ type: t, run: run, timeout: {timeout} }}\n")).unwrap();
        let (source, config, _) = examine(Purpose::Work, Some(&file), &|_| None);
        let (config, routes) = (config.unwrap(), vec!["0".to_owned()]);
        let mut inspection = Inspection { source: &source, config: &config, routes, problems: Vec::new() };
        inspection.patience();
        inspection.problems
    };
    for (queue, fits, too_long, fix) in
        [("rabbitmq: { url: amqp://localhost }", "29m", "30m", "consumer_timeout"), ("sqs: {}", "659m", "660m", "11 hours")]
    {
        assert_eq!(found(queue, fits), []);
        let problems = found(queue, too_long);
        assert!(problems.len() == 1 && problems[0].is_error() && problems[0].fix.contains(fix), "{problems:?}");
        assert_eq!(problems[0].key, "routes[0].timeout");
    }
}
