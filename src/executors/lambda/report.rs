//! The log tail of a call: the function's own lines, and the report that Lambda ends it with.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ports::Usage;

/// What the tail of a log says.
#[derive(Debug, Default, PartialEq)]
pub struct Tail {
    /// Those of the function.
    pub lines: Vec<String>,
    pub usage: Option<Usage>,
}

/// Reads the header `X-Amz-Log-Result`: base64 of the last 4 KiB.
#[must_use]
pub fn read(header: &str) -> Tail {
    let log = STANDARD.decode(header.trim()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let mut tail = Tail::default();
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        if line.starts_with("REPORT RequestId:") {
            tail.usage = usage(line);
        } else if !line.starts_with("START RequestId:") && !line.starts_with("END RequestId:") {
            tail.lines.push(line.trim_end().to_owned());
        }
    }
    tail
}

/// `REPORT RequestId: … Duration: 1.2 ms Billed Duration: 2 ms Memory Size: 128 MB Max Memory Used: 45 MB Init Duration: 90.1 ms`
fn usage(line: &str) -> Option<Usage> {
    let value = |name: &str| line.split_once(name).and_then(|(_, rest)| rest.trim_start().split(' ').next());
    let time = |name: &str| {
        let milliseconds: f64 = value(name)?.parse().ok()?;
        Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
    };
    Some(Usage {
        billed: time("Billed Duration:")?,
        memory: value("Max Memory Used:").and_then(|megabytes| megabytes.parse().ok()).map(|megabytes: u64| megabytes << 20),
        cold_start: time("Init Duration:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read_and_the_functions_lines_are_kept() {
        let log = "START RequestId: a Version: $LATEST\nhello ü\n\nTraceback\nEND RequestId: a\n\
                   REPORT RequestId: a\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 45 MB\t\
                   Init Duration: 100.50 ms\t\n";
        let tail = read(&STANDARD.encode(log));
        assert_eq!(tail.lines, ["hello ü", "Traceback"]);
        let usage = tail.usage.unwrap();
        assert_eq!((usage.billed, usage.memory), (Duration::from_millis(13), Some(45 << 20)));
        assert_eq!(usage.cold_start, Some(Duration::from_micros(100_500)));
    }

    #[test]
    fn a_tail_without_a_report_or_that_is_none_has_no_usage() {
        assert_eq!(read(&STANDARD.encode("only\nlines\n")).usage, None);
        assert_eq!(read("no base64!"), Tail::default());
        assert_eq!(read(&STANDARD.encode("REPORT RequestId: a Duration: x ms")).usage, None);
    }
}
