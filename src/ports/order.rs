//! How far a queue keeps the jobs of a key in order.

/// How far a queue keeps the jobs of a key in order, through all that happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Whoever takes them: while a job of a key is held, no other worker gets a later one of that key.
    Key,
    /// Each worker gets them in order, but several workers may get jobs of one key at the same time.
    Worker,
    /// A later job of a key may come before an earlier one.
    None,
}
