//! What a producer saw confirmed, and what each job did, written by the job itself: known outside the product.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Ids that the producer saw confirmed. A request without an answer is neither confirmed nor lost.
#[derive(Clone, Default)]
pub struct Confirmed(Arc<Mutex<HashSet<String>>>);

impl Confirmed {
    pub fn add(&self, ids: impl IntoIterator<Item = String>) {
        self.0.lock().unwrap().extend(ids);
    }

    pub fn ids(&self) -> HashSet<String> {
        self.0.lock().unwrap().clone()
    }
}

/// The file into which jobs write `start <id>` and `end <id>`, one write each.
pub struct Runs(pub PathBuf);

#[derive(Default)]
pub struct Counts {
    pub starts: usize,
    pub ends: usize,
}

impl Runs {
    /// Where a job of a key, such as `key-3-17`, started or ended after a later one of its key had started. None overlap
    /// and none pass each other where there is no such place.
    pub fn out_of_order(&self) -> Vec<String> {
        let mut furthest: HashMap<String, usize> = HashMap::new();
        let mut wrong = Vec::new();
        for line in std::fs::read_to_string(&self.0).unwrap_or_default().lines() {
            let Some((_, id)) = line.split_once(' ') else { continue };
            let Some((key, number)) = id.strip_prefix("key-").and_then(|rest| rest.split_once('-')) else { continue };
            let number: usize = number.parse().unwrap();
            let furthest = furthest.entry(key.to_owned()).or_default();
            if number < *furthest {
                wrong.push(format!("{line} after {furthest}"));
            }
            *furthest = number.max(*furthest);
        }
        wrong
    }

    pub fn read(&self) -> HashMap<String, Counts> {
        let mut runs: HashMap<String, Counts> = HashMap::new();
        for line in std::fs::read_to_string(&self.0).unwrap_or_default().lines() {
            let Some((word, id)) = line.split_once(' ') else { continue };
            let counts = runs.entry(id.to_owned()).or_default();
            match word {
                "start" => counts.starts += 1,
                "end" => counts.ends += 1,
                other => panic!("the ledger has a line of {other:?}"),
            }
        }
        runs
    }
}
