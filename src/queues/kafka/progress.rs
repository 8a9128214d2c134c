//! What a group remembers of a partition beside its low water, as text in the commit's metadata: at most 4096 UTF-16 units.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;

use crate::job::Life;

/// The longest text that is written; brokers take 4096 UTF-16 units, and ours are all ASCII.
pub const LONGEST: usize = 4000;
/// The most offsets that a text is believed to speak of.
const MOST: u64 = 10_000_000;

/// Written as `1`, `c` (clean) or `r` (running), then deaths, ahead, runs and held, with dots between. Runs and held are
/// LEB128 numbers in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Nothing was handed out at this time.
    pub clean: bool,
    /// How many workers in a row died while the suspects of the one before ran.
    pub deaths: u32,
    /// Up to how far above low water something may have been handed out.
    pub ahead: u32,
    /// From low water on: how many offsets in a row are open, then how many are finished, and so on.
    pub runs: Vec<u32>,
    /// By distance from low water: the lives of held records, which cannot be rewritten.
    pub held: Vec<(u32, Held)>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { clean: true, deaths: 0, ahead: 0, runs: Vec::new(), held: Vec::new() }
    }
}

/// What must not be forgotten of a held record's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub attempt: u32,
    pub crashes: u32,
    pub suspect: bool,
    pub due: Option<i64>,
}

impl Held {
    pub fn of(life: &Life) -> Self {
        let due = life.due.map(Timestamp::as_millisecond);
        Held { attempt: life.attempt, crashes: life.crashes, suspect: life.suspect, due }
    }

    /// Writes it over the life that the record carries.
    pub fn onto(&self, life: &mut Life) {
        (life.attempt, life.crashes, life.suspect) = (self.attempt, self.crashes, self.suspect);
        life.due = self.due.and_then(|due| Timestamp::from_millisecond(due).ok());
    }
}

impl Progress {
    /// At most [`LONGEST`] characters: of finished runs the last are left out where there are too many, and run again.
    pub fn encode(&self) -> String {
        let held = BASE64.encode(self.held_bytes());
        let mut runs = &self.runs[..];
        loop {
            let mut bytes = Vec::new();
            runs.iter().for_each(|run| put(&mut bytes, u64::from(*run)));
            let state = if self.clean { 'c' } else { 'r' };
            let text = format!("1{state}{}.{}.{}.{held}", self.deaths, self.ahead, BASE64.encode(bytes));
            if text.len() <= LONGEST || runs.is_empty() {
                return text;
            }
            runs = &runs[..runs.len().saturating_sub(16)];
        }
    }

    fn held_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (after, held) in &self.held {
            let due = held.due.and_then(|due| u64::try_from(due).ok()).map_or(0, |due| due + 1);
            let numbers = [u64::from(*after), u64::from(held.attempt), u64::from(held.crashes), u64::from(held.suspect), due];
            numbers.iter().for_each(|number| put(&mut bytes, *number));
        }
        bytes
    }

    /// None for what is not ours, or of a version that says other things.
    pub fn decode(text: &str) -> Option<Self> {
        let (state, rest) = text.strip_prefix('1')?.split_at_checked(1)?;
        let parts: Vec<&str> = rest.split('.').collect();
        let [deaths, ahead, runs, held, ..] = parts[..] else { return None };
        let clean = match state {
            "c" => true,
            "r" => false,
            _ => return None,
        };
        let runs = numbers(&BASE64.decode(runs).ok()?)?;
        if runs.iter().sum::<u64>() > MOST {
            return None;
        }
        let runs = runs.iter().map(|run| u32::try_from(*run).ok()).collect::<Option<_>>()?;
        let held = numbers(&BASE64.decode(held).ok()?)?;
        let held = held.chunks_exact(5).map(read_held).collect::<Option<_>>()?;
        Some(Progress { clean, deaths: deaths.parse().ok()?, ahead: ahead.parse().ok()?, runs, held })
    }
}

fn read_held(numbers: &[u64]) -> Option<(u32, Held)> {
    let number = |index: usize| u32::try_from(numbers[index]).ok();
    let due = numbers[4].checked_sub(1).map(i64::try_from).transpose().ok()?;
    Some((number(0)?, Held { attempt: number(1)?, crashes: number(2)?, suspect: numbers[3] != 0, due }))
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn numbers(bytes: &[u8]) -> Option<Vec<u64>> {
    let (mut numbers, mut number, mut shift) = (Vec::new(), 0u64, 0);
    for byte in bytes {
        if shift > 56 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(number);
            (number, shift) = (0, 0);
        }
    }
    (shift == 0).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held() -> impl Strategy<Value = Held> {
        let due = prop::option::of(0i64..4_000_000_000_000);
        (any::<u32>(), any::<u32>(), any::<bool>(), due).prop_map(|(attempt, crashes, suspect, due)| Held {
            attempt,
            crashes,
            suspect,
            due,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            clean in any::<bool>(), deaths in any::<u32>(), ahead in any::<u32>(),
            runs in prop::collection::vec(0u32..1000, 0..200), held in prop::collection::vec((any::<u32>(), held()), 0..40),
        ) {
            let progress = Progress { clean, deaths, ahead, runs, held };
            prop_assert_eq!(Progress::decode(&progress.encode()), Some(progress));
        }

        #[test]
        fn nonsense_is_nobodys_progress_and_breaks_nothing(text in ".{0,60}", bytes in "1[cr][0-9.A-Za-z_-]{0,60}") {
            let _ = (Progress::decode(&text), Progress::decode(&bytes));
        }

        #[test]
        fn however_much_there_is_the_text_fits_and_finishes_nothing_that_is_open(
            runs in prop::collection::vec(1u32..300, 0..9000),
        ) {
            let progress = Progress { runs: runs.clone(), ..Progress::default() };
            let text = progress.encode();
            prop_assert!(text.encode_utf16().count() <= 4096 && text.is_ascii());
            let read = Progress::decode(&text).unwrap();
            prop_assert_eq!(&read.runs[..], &runs[..read.runs.len()]);
        }
    }

    #[test]
    fn the_metadata_of_others_is_not_taken_for_ours() {
        for text in ["", "1", "consumer-1", "2c0.0..", "1x0.0..", "1c0.0.!.", "1c0.0.gICAgICAgICAgIAB."] {
            assert_eq!(Progress::decode(text), None, "{text:?}");
        }
        assert_eq!(Progress::decode("1c0.0..").unwrap(), Progress::default());
    }
}
