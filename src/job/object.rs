//! JSON objects written member by member: what is already JSON is copied, and plain text needs no second look.

use serde::Serialize;

/// A JSON object as it is written. The writer closes it: what it is part of may go on.
pub struct Object<'a> {
    pub out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// `start` ends with the opening brace.
    pub fn open(out: &'a mut Vec<u8>, start: &[u8]) -> Self {
        out.extend_from_slice(start);
        Object { out, first: true }
    }

    /// The name of a member whose value the caller writes; it holds nothing to escape.
    pub fn name(&mut self, name: &str) {
        debug_assert!(is_plain(name));
        let start: &[u8] = if std::mem::replace(&mut self.first, false) { b"\"" } else { b",\"" };
        self.out.reserve(name.len() + 4);
        self.out.extend_from_slice(start);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        quote(self.out, text);
    }

    pub fn optional_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// `json` is one JSON value.
    pub fn json(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(json);
    }

    pub fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.name(name);
        write(self.out, value);
    }

    pub fn optional<T: Serialize>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }
}

/// Whether a text holds nothing to escape. Looks at all of it, since many bytes at a time cost less than to stop at one.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

/// Most texts hold nothing to escape and are copied whole.
fn quote(out: &mut Vec<u8>, text: &str) {
    if !is_plain(text) {
        return write(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Texts, numbers and times cannot fail to be written into memory.
fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _infallible = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_quoted_as_the_library_does(text in any::<String>(), control in "[\\x00-\\x20\"\\\\]{0,3}") {
            for text in [text.clone(), format!("{text}{control}"), control] {
                let mut quoted = Vec::new();
                quote(&mut quoted, &text);
                prop_assert_eq!(quoted, serde_json::to_vec(&text).unwrap());
            }
        }
    }
}
