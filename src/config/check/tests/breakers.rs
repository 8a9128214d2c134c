use super::*;

#[test]
fn a_breaker_that_cannot_work_is_an_error_and_may_be_off() {
    let yaml = "routes: [{ type: a, run: a }, { type: b, run: b }, { type: c, run: c }]\nexecutors:\n  \
                a: { command: { run: [./program] }, breaker: { jobs: 0, ratio: 1.5, window: 10ms, longest_probe: 1s } }\n  \
                b: { command: { run: [./program] }, breaker: off }\n  \
                c: { command: { run: [./program] }, breaker: on }\n  no-route: { command: { run: [./program] } }\n";
    finds(
        yaml,
        &[
            (3, "executors.a.breaker.jobs", "open without a failure"),
            (3, "executors.a.breaker.ratio", "above 0"),
            (3, "executors.a.breaker.window", "hiccup"),
            (3, "executors.a.breaker.longest_probe", "shorter than probe"),
            (5, "executors.c.breaker", "off, or a block"),
            (6, "executors.no-route", "parked"),
        ],
    );
}
