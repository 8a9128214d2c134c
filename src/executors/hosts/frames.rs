//! Frames out of the bytes of a pipe: four bytes of length, highest first, then so many bytes of JSON.

use super::ending::End;
use super::response::{START, id_at_the_start};
use crate::units::spell_size;

/// Room for what stands around an output in its frame.
const AROUND: usize = 64 * 1024;
const HEADER: usize = 4;

/// What was received and not yet taken.
#[derive(Debug)]
pub struct Frames {
    pub received: Vec<u8>,
    /// The largest output, in bytes.
    output: usize,
}

impl Frames {
    #[must_use]
    pub fn new(output: usize) -> Self {
        Frames { received: Vec::new(), output }
    }

    /// Hands every whole frame to `take`.
    ///
    /// # Errors
    /// The end of the conversation: a frame is too large, or `take` said how it breaks the protocol.
    pub fn each(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), End> {
        let mut rest = &self.received[..];
        while let Some((header, body)) = rest.split_first_chunk::<HEADER>() {
            let length = u32::from_be_bytes(*header) as usize;
            // base64 makes an output longer by a third
            if length > self.output.saturating_add(self.output / 3).saturating_add(AROUND) {
                if is_text(header) || body.first().is_some_and(|first| *first != b'{') {
                    return Err(End::Crashed(no_frame(rest)));
                }
                if body.len() < START {
                    break;
                }
                return Err(End::TooLarge { job: id_at_the_start(body), limit: spell_size(self.output as u64) });
            }
            let Some((frame, after)) = body.split_at_checked(length) else { break };
            take(frame).map_err(End::Crashed)?;
            rest = after;
        }
        let taken = self.received.len() - rest.len();
        self.received.drain(..taken);
        Ok(())
    }
}

/// Four characters of text are no length: as one they would say half a gibibyte at least.
fn is_text(header: &[u8]) -> bool {
    header.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

fn no_frame(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    format!("what it wrote to descriptor 4 is no frame; it starts with {start:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(body: &str) -> Vec<u8> {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(body.as_bytes());
        frame
    }

    #[test]
    fn frames_come_whole_however_the_bytes_were_cut() {
        let bytes: Vec<u8> = ["one", "", "three"].into_iter().flat_map(framed).collect();
        for size in 1..=bytes.len() {
            let mut frames = Frames::new(100);
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                frames.received.extend_from_slice(piece);
                frames
                    .each(|frame| {
                        seen.push(String::from_utf8(frame.to_vec()).unwrap());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, ["one", "", "three"], "in pieces of {size}");
            assert!(frames.received.is_empty());
        }
    }

    #[test]
    fn text_in_the_place_of_a_frame_is_known_at_once_however_short() {
        for text in ["oops", "oops: debugging\n", "\u{1}\u{2}\u{3}\u{4}no json"] {
            let mut frames = Frames::new(100);
            frames.received.extend_from_slice(text.as_bytes());
            let end = frames.each(|_| Ok(()));
            assert!(matches!(&end, Err(End::Crashed(why)) if why.contains("no frame")), "{text:?}: {end:?}");
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_is_there_and_names_its_job() {
        let mut frames = Frames::new(100);
        frames.received.extend_from_slice(&u32::MAX.to_be_bytes());
        frames.received.extend_from_slice(br#"{"done":{"id":5,"output":""#);
        assert!(frames.each(|_| Ok(())).is_ok(), "too little to see whose it is");
        frames.received.extend_from_slice(&[b'x'; START]);
        assert!(matches!(frames.each(|_| Ok(())), Err(End::TooLarge { job: Some(5), .. })));
    }
}
