//! Log lines out of a stream of bytes.

/// Longer lines are cut, so that a stream without line ends cannot fill the memory.
const LONGEST: usize = 16 * 1024;

/// The start of a line whose end has not come yet.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Hands each line that `bytes` completes to `each`.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.finish(&mut each);
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() >= LONGEST {
            self.finish(&mut each);
        }
    }

    /// Hands over what came after the last line end.
    pub fn finish(&mut self, mut each: impl FnMut(&str)) {
        for piece in self.rest.chunks(LONGEST) {
            let line = String::from_utf8_lossy(piece);
            let line = line.trim_end();
            if !line.is_empty() {
                each(line);
            }
        }
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_the_bytes_were_cut() {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for piece in ["on", "e\ntw", "o\r\n\n", "three\nfo", "ur"] {
            lines.take(piece.as_bytes(), |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, ["one", "two", "three"]);
        lines.finish(|line| seen.push(line.to_owned()));
        assert_eq!(seen.last().unwrap(), "four");
    }

    #[test]
    fn an_endless_line_is_cut_instead_of_kept() {
        let mut lines = Lines::default();
        let mut longest = 0;
        for _ in 0..100 {
            lines.take(&[b'x'; 1000], |line| longest = longest.max(line.len()));
            assert!(lines.rest.len() <= LONGEST);
        }
        assert!((LONGEST - 1000..=LONGEST).contains(&longest), "{longest}");
    }
}
