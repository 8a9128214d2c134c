//! Delays of whole seconds out of queues with fixed times: one queue for each bit of the delay.
//!
//! A message visits the queues whose bits are set, from the largest down, and then its own queue. Each queue keeps what it
//! has for 2^bit seconds, so that all of it is in due order, and dead-letters it at least once into the exchange of the
//! next bit. The routing key tells the way: 28 digits, and the name of the queue as one word.

use std::time::Duration;

/// 2^28 seconds are eight years and a half.
pub(super) const BITS: u32 = 28;
/// The longest delay.
pub(super) const LONGEST: Duration = Duration::from_secs((1 << BITS) - 1);

/// The queue and the exchange of a bit.
pub(super) fn level(prefix: &str, bit: u32) -> String {
    format!("{prefix}.{bit}")
}

/// The exchange that brings what is due to its queue.
pub(super) fn due(prefix: &str) -> String {
    format!("{prefix}.due")
}

/// Where a message goes that is to wait for `delay`, rounded down to seconds: the exchange and the routing key. None when
/// that is no time at all.
pub(super) fn way(prefix: &str, queue: &str, delay: Duration) -> Option<(String, String)> {
    let seconds = delay.min(LONGEST).as_secs();
    let highest = seconds.checked_ilog2()?;
    let digits = (0..BITS).rev().map(|bit| if seconds >> bit & 1 == 1 { "1." } else { "0." });
    Some((level(prefix, highest), digits.collect::<String>() + &word(queue)))
}

/// What binds the exchange of a bit to its queue (`digit` 1) or to the next exchange (0).
pub(super) fn pattern(bit: u32, digit: u8) -> String {
    "*.".repeat((BITS - 1 - bit) as usize) + &format!("{digit}.#")
}

/// What binds the last exchange to a queue.
pub(super) fn to_queue(queue: &str) -> String {
    format!("#.{}", word(queue))
}

/// A queue's name as one word of a routing key.
fn word(queue: &str) -> String {
    let mut word = String::with_capacity(queue.len() + 8);
    for character in queue.chars() {
        match character {
            '.' => word.push_str("%2E"),
            '*' => word.push_str("%2A"),
            '#' => word.push_str("%23"),
            '%' => word.push_str("%25"),
            other => word.push(other),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(seconds: u64) -> u64 {
        let Some((mut exchange, key)) = way("d", "a.b", Duration::from_secs(seconds)) else { return 0 };
        let mut waited = 0;
        // as a topic exchange matches it: stars one word each, # any number
        let matches = |pattern: &str| {
            let words: Vec<&str> = key.split('.').collect();
            let pattern: Vec<&str> = pattern.split('.').collect();
            pattern.iter().zip(&words).all(|(wanted, word)| ["*", "#", word].contains(wanted))
        };
        while exchange != due("d") {
            let bit: u32 = exchange.rsplit('.').next().unwrap().parse().unwrap();
            let waits = matches(&pattern(bit, 1));
            assert_ne!(waits, matches(&pattern(bit, 0)), "exactly one way leads on");
            waited += u64::from(waits) << bit;
            exchange = if bit == 0 { due("d") } else { level("d", bit - 1) };
        }
        waited
    }

    #[test]
    fn a_message_waits_for_the_sum_of_the_queues_on_its_way() {
        for seconds in [0, 1, 2, 3, 60, 3600, 86_400, 12_345_678, LONGEST.as_secs()] {
            assert_eq!(walk(seconds), seconds);
        }
    }

    #[test]
    fn names_that_end_alike_are_told_apart() {
        assert_eq!(to_queue("a.b"), "#.a%2Eb");
        assert!(!to_queue("x.a.b").ends_with(&to_queue("a.b")[1..]), "one would get what is meant for the other");
        assert_eq!(to_queue("50%*#"), "#.50%25%2A%23");
    }

    #[test]
    fn the_longest_name_still_fits_into_a_routing_key() {
        let (_, key) = way("d", &".".repeat(66), LONGEST).unwrap();
        assert!(key.len() <= 255, "{}", key.len());
    }
}
