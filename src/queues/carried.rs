//! Headers that a system cannot carry as they are (repeated, no text, or with impossible names), in one header that it can.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::job::Header;

/// JSON: a list of names and values in base64, in order.
pub const HEADER: &str = "windlass-headers";

pub fn write<'a>(headers: impl Iterator<Item = &'a &'a Header>) -> Vec<u8> {
    let pairs: Vec<(&str, String)> = headers.map(|header| (&*header.name, STANDARD.encode(&header.value))).collect();
    // text and text cannot fail to be written
    serde_json::to_vec(&pairs).unwrap_or_default()
}

/// None when it is not ours: then it stays what it is.
pub fn read(json: &[u8]) -> Option<Vec<Header>> {
    let pairs: Vec<(String, String)> = serde_json::from_slice(json).ok()?;
    pairs.into_iter().map(|(name, value)| Some(Header::new(&name, STANDARD.decode(value).ok()?))).collect()
}
