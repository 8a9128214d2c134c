//! The picture: on a terminal a few lines that are drawn over, in a pipe a plain line when something has changed.

use std::io::{IsTerminal as _, Write as _, stdout};

use serde_json::{Map, Value, json};

use crate::ports::QueueStats;

/// Cells of a full bar.
const WIDTH: usize = 44;

pub(super) struct View {
    live: bool,
    /// Documents instead of text.
    json: bool,
    /// Lines of the picture that stand on the screen.
    drawn: usize,
    last: String,
    frames: usize,
}

impl View {
    pub fn new(json: bool) -> Self {
        View { live: !json && stdout().is_terminal(), json, drawn: 0, last: String::new(), frames: 0 }
    }

    /// Says something for good, below the picture; the document is for programs.
    pub fn tell(&mut self, document: &Value, text: impl FnOnce() -> String) {
        self.drawn = 0;
        let line = if self.json { document.to_string() } else { text().trim_end_matches('\n').to_owned() };
        print(&format!("{line}\n"));
    }

    pub fn draw(&mut self, stats: &[QueueStats]) {
        let sum = |count: fn(&QueueStats) -> u64| stats.iter().map(count).sum::<u64>();
        let counts = [
            ("done", sum(|queue| queue.completed.unwrap_or_default()), '#'),
            ("running", sum(|queue| queue.running.unwrap_or_default()), '>'),
            ("waiting", sum(|queue| queue.waiting), '.'),
            ("retry later", sum(|queue| queue.delayed.unwrap_or_default() + queue.parked), 'r'),
            ("dead", sum(|queue| queue.dead), 'x'),
        ];
        self.frames += 1;
        if self.live { self.picture(&counts) } else { self.line(&counts) }
    }

    fn picture(&mut self, counts: &[(&str, u64, char)]) {
        let total = counts.iter().map(|(_, count, _)| count).sum::<u64>().max(1);
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for (name, count, mark) in counts {
            #[expect(clippy::cast_possible_truncation, reason = "a share of the width fits")]
            let cells = (count * WIDTH as u64).div_ceil(total) as usize;
            text.push_str(&format!("\x1b[2K  {name:<12} {count:>5}  {}\n", mark.to_string().repeat(cells)));
        }
        print(&text);
        self.drawn = counts.len();
    }

    /// At most two lines a second, and only news.
    fn line(&mut self, counts: &[(&str, u64, char)]) {
        let words: Vec<String> = counts.iter().map(|(name, count, _)| format!("{name} {count}")).collect();
        let documents = counts.iter().map(|(name, count, _)| (name.replace(' ', "_"), json!(count)));
        let line = match self.json {
            true => json!({ "event": "progress", "jobs": documents.collect::<Map<_, _>>() }).to_string(),
            false => words.join(", "),
        };
        if line != self.last && self.frames % 5 == 1 {
            print(&format!("{line}\n"));
            self.last = line;
        }
    }
}

/// To standard output; nobody may be reading any more.
fn print(text: &str) {
    let mut out = stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
