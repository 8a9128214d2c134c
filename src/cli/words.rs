//! How times, counts and ages are said to people.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::between;

/// A duration in its largest unit: `3m`, `2h`, `5d`.
#[must_use]
pub fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The age of what happened at `then`.
#[must_use]
pub fn since(then: Timestamp, now: Timestamp) -> String {
    age(between(then, now))
}

/// `in 20s`, or `now` for what is due.
#[must_use]
pub fn until(due: Timestamp, now: Timestamp) -> String {
    if due <= now { "now".into() } else { format!("in {}", age(between(now, due) + Duration::from_millis(999))) }
}

/// `1 job`, `3 jobs`, `12,345 jobs`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The text, or a dash where there is none.
#[must_use]
pub fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short_and_keep_a_unit_until_the_next_says_enough() {
        let spelled = [0, 59, 60, 3599, 3600, 172_799, 172_800].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(spelled, ["0s", "59s", "1m", "59m", "1h", "47h", "2d"]);
    }

    #[test]
    fn a_due_time_is_never_said_to_be_over_before_it_is() {
        let now = Timestamp::now();
        assert_eq!(until(now + Duration::from_millis(1), now), "in 1s");
        assert_eq!(until(now, now), "now");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(count(1, "job", "jobs"), "1 job");
        assert_eq!(count(1000, "job", "jobs"), "1,000 jobs");
    }
}
