//! Durations and sizes as users write them: `"30s"`, `"1h30m"`, `"256MiB"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Parses a duration such as `"250ms"`, `"30s"`, `"1h30m"` or `"7d"`.
///
/// # Errors
/// A sentence that names the accepted spelling.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("{text:?} is not a duration: write a number with a unit, such as \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"7d\"")
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                _ => return Err(wrong()),
            };
        rest = rest[letters..].trim_start();
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Spells a duration the way [`parse_duration`] reads it, largest units first: `90 s` is `"1m30s"`.
#[must_use]
pub fn spell_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    if left == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= size {
            text.push_str(&format!("{}{unit}", left / size));
            left %= size;
        }
    }
    text
}

/// Parses a size in bytes such as `"64KiB"`, `"512MiB"`, `"2GB"` or `"1048576"`.
///
/// # Errors
/// A sentence that names the accepted spelling.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is not a size: write a number of bytes with a unit, such as \"64KiB\", \"512MiB\" or \"2GB\"");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: f64 = match text[digits..].trim() {
        "" | "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err(wrong()),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size is positive and far below 2^53")]
    Ok((number * unit) as u64)
}

/// Spells a size in the largest binary unit that divides it.
#[must_use]
pub fn spell_size(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// A [`Duration`] that is read and written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Span).map_err(de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&spell_duration(self.0))
    }
}

/// A number of bytes that is read and written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_size(&text).map(Size).map_err(de::Error::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&spell_size(self.0))
    }
}

/// So many in a time: `"100/s"`, `"5/m"`, `"1000/h"`, `"10/30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    pub per: Duration,
}

/// Parses a rate such as `"100/s"`.
///
/// # Errors
/// A sentence that names the accepted spelling.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong =
        || format!("{text:?} is not a rate: write a number and a time, such as \"100/s\", \"5/m\", \"1000/h\" or \"10/30s\"");
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    let count: u32 = count.trim().parse().map_err(|_| wrong())?;
    let per = per.trim();
    let per = if per.starts_with(|first: char| first.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
    let per = parse_duration(&per).map_err(|_| wrong())?;
    if count == 0 || per.is_zero() {
        return Err(format!("{text:?} would let none start: write at least \"1/d\", or pause the queue"));
    }
    Ok(Rate { count, per })
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_rate(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let per = spell_duration(self.per);
        let per = per.strip_prefix('1').filter(|unit| !unit.starts_with(|first: char| first.is_ascii_digit())).unwrap_or(&per);
        write!(f, "{}/{per}", self.count)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_back_as_it_was_spelled() {
        for (text, count, seconds) in
            [("100/s", 100, 1), ("5/m", 5, 60), ("1000/h", 1000, 3600), ("10/30s", 10, 30), ("1/10s", 1, 10)]
        {
            let rate = parse_rate(text).unwrap();
            assert_eq!(rate, Rate { count, per: Duration::from_secs(seconds) });
            assert_eq!(serde_json::to_value(rate).unwrap(), text);
        }
        for text in ["100", "0/s", "1/0s", "a/s", "1/x", "-1/s"] {
            assert!(parse_rate(text).unwrap_err().contains("write"), "{text}");
        }
    }

    #[test]
    fn a_duration_is_read_back_as_it_was_spelled() {
        for (text, millis) in [("250ms", 250), ("30s", 30_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("1.5s", 1500)] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(parse_duration(&spell_duration(duration)).unwrap(), duration);
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused_with_the_accepted_spelling() {
        for text in ["30", "", "s", "1x", "-5s", "1e400s"] {
            assert!(parse_duration(text).unwrap_err().contains("30s"), "{text}");
        }
        assert!(parse_size("5 lightyears").unwrap_err().contains("512MiB"));
    }

    #[test]
    fn a_size_is_read_in_binary_and_decimal_units() {
        assert_eq!(parse_size("64KiB").unwrap(), 65_536);
        assert_eq!(parse_size("2GB").unwrap(), 2_000_000_000);
        assert_eq!(parse_size(&spell_size(1 << 28)).unwrap(), 1 << 28);
    }
}
