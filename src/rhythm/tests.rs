use proptest::prelude::*;

use super::*;

fn cron(pattern: &str, zone: &str) -> Rhythm {
    Rhythm::cron(pattern, TimeZone::get(zone).unwrap()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The due times that follow `after`.
fn due(rhythm: &Rhythm, after: &str, count: usize) -> Vec<String> {
    let times = std::iter::successors(rhythm.next(at(after)), |last| rhythm.next(*last));
    times.take(count).map(|time| time.to_string()).collect()
}

#[test]
fn each_pattern_is_due_when_its_zone_says() {
    for (pattern, zone, after, expected) in [
        ("*/5 * * * *", "UTC", "2026-11-21T08:01:00Z", ["2026-11-21T08:05:00Z", "2026-11-21T08:10:00Z"]),
        ("0 7 * * *", "Europe/Vienna", "2026-11-21T06:00:00Z", ["2026-11-22T06:00:00Z", "2026-11-23T06:00:00Z"]),
        ("0 7 * * *", "Asia/Kolkata", "2026-11-21T00:00:00Z", ["2026-11-21T01:30:00Z", "2026-11-22T01:30:00Z"]),
        ("15 10 * * MON-FRI", "UTC", "2026-11-20T10:15:00Z", ["2026-11-23T10:15:00Z", "2026-11-24T10:15:00Z"]),
        ("0 0 29 2 *", "UTC", "2026-11-21T00:00:00Z", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("30 0 0 L * *", "UTC", "2026-11-21T00:00:00Z", ["2026-11-30T00:00:30Z", "2026-12-31T00:00:30Z"]),
        ("@hourly", "UTC", "2026-11-21T08:00:00Z", ["2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z"]),
        // a whole day that Samoa skipped when it crossed the date line: due once, at the change
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T20:00:00Z", ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z"]),
    ] {
        assert_eq!(due(&cron(pattern, zone), after, 2), expected, "{pattern} in {zone}");
    }
}

#[test]
fn a_skipped_hour_is_due_at_the_change_and_only_once() {
    // 02:00 to 03:00 does not exist
    let vienna = "2027-03-27T12:00:00Z";
    assert_eq!(due(&cron("30 2 * * *", "Europe/Vienna"), vienna, 2), ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]);
    assert_eq!(
        due(&cron("*/20 2,3 * * *", "Europe/Vienna"), vienna, 4),
        ["2027-03-28T01:00:00Z", "2027-03-28T01:20:00Z", "2027-03-28T01:40:00Z", "2027-03-29T00:00:00Z"]
    );
    let new_york = "2027-03-13T12:00:00Z";
    assert_eq!(due(&cron("15 2 * * *", "America/New_York"), new_york, 2), ["2027-03-14T07:00:00Z", "2027-03-15T06:15:00Z"]);
    // half an hour is skipped here, from 02:00 to 02:30
    let lord_howe = "2026-10-03T00:00:00Z";
    assert_eq!(due(&cron("15 2 * * *", "Australia/Lord_Howe"), lord_howe, 2), ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
}

#[test]
fn a_doubled_hour_is_due_the_first_time_only() {
    let vienna = "2026-10-24T12:00:00Z";
    assert_eq!(due(&cron("30 2 * * *", "Europe/Vienna"), vienna, 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    // asked in the middle of the second pass
    let second_pass = "2026-10-25T01:10:00Z";
    assert_eq!(due(&cron("30 2 * * *", "Europe/Vienna"), second_pass, 1), ["2026-10-26T01:30:00Z"]);
    assert_eq!(
        due(&cron("*/30 * * * *", "Europe/Vienna"), "2026-10-25T00:00:00Z", 3),
        ["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"]
    );
    let new_york = "2026-10-31T12:00:00Z";
    assert_eq!(due(&cron("30 1 * * *", "America/New_York"), new_york, 2), ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
}

#[test]
fn a_span_is_due_at_its_multiples_whoever_asks() {
    let every = Rhythm::Every(Duration::from_secs(10));
    assert_eq!(due(&every, "2026-11-21T08:00:07.5Z", 2), ["2026-11-21T08:00:10Z", "2026-11-21T08:00:20Z"]);
    assert_eq!(due(&every, "2026-11-21T08:00:10Z", 1), ["2026-11-21T08:00:20Z"]);
    assert_eq!(due(&every, "1969-12-31T23:59:55Z", 1), ["1970-01-01T00:00:00Z"]);
}

#[test]
fn a_pattern_that_is_never_due_has_no_next_time() {
    assert_eq!(cron("0 0 30 2 *", "UTC").next(at("2026-11-21T00:00:00Z")), None);
    assert_eq!(cron("0 0 0 1 1 * 2020", "UTC").next(at("2026-11-21T00:00:00Z")), None);
    assert!(Rhythm::cron("61 * * * *", TimeZone::UTC).is_err());
    assert!(Rhythm::cron("soon", TimeZone::UTC).is_err());
}

#[test]
fn the_latest_due_times_are_found_however_long_nobody_looked() {
    let every = Rhythm::Every(Duration::from_secs(1));
    let (start, end) = (at("2016-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
    let (latest, earlier) = every.latest(start, end, 3);
    assert_eq!((latest.len(), latest[2], earlier), (3, end, true));
    let yearly = cron("0 0 1 1 *", "UTC");
    let (latest, earlier) = yearly.latest(start, end, 100);
    assert_eq!((latest.len(), latest[0], earlier), (10, at("2017-01-01T00:00:00Z"), false));
    assert_eq!(yearly.latest(end, end, 100), (vec![], false));
    assert_eq!(yearly.latest(end, start, 100), (vec![], false), "a clock that went back");
}

proptest! {
    #[test]
    fn due_times_rise_and_do_not_depend_on_when_they_are_asked_for(
        start in 1_600_000_000i64..1_900_000_000, step in 1i64..90_000, pattern in 0usize..4, zone in 0usize..4,
    ) {
        let pattern = ["30 2 * * *", "*/20 * * * *", "5 1-3 * * *", "0 0 * * SUN"][pattern];
        let rhythm = cron(pattern, ["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "UTC"][zone]);
        let start = Timestamp::from_second(start).unwrap();
        let next = rhythm.next(start).unwrap();
        prop_assert!(next > start);
        let between = Timestamp::from_second((start.as_second() + step).min(next.as_second() - 1)).unwrap();
        prop_assert_eq!(rhythm.next(between.max(start)), Some(next));
        prop_assert_eq!(rhythm.latest(start, next, 5), (vec![next], false));
    }
}
