//! What an exit code means: those of `sysexits.h`, of the shell, and what the config says beside them.

use std::collections::BTreeMap;

use crate::outcome::Class;

/// The class of a run that ended with `code`; `None` is success.
#[must_use]
pub fn class_of(code: i32, configured: &BTreeMap<i32, Class>) -> Option<Class> {
    if let Some(class) = configured.get(&code) {
        return Some(*class);
    }
    match code {
        0 => None,
        // EX_USAGE, EX_DATAERR
        64 | 65 => Some(Class::Rejected),
        // EX_UNAVAILABLE
        69 => Some(Class::Unavailable),
        // EX_NOPERM, EX_CONFIG; found but not executable, and not found
        77 | 78 | 126 | 127 => Some(Class::Misconfigured),
        // as timeout(1) says it
        124 => Some(Class::Timeout),
        // EX_TEMPFAIL (75) among them
        _ => Some(Class::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_wins_over_the_usual_meaning() {
        let none = BTreeMap::new();
        assert_eq!(class_of(0, &none), None);
        assert_eq!(class_of(65, &none), Some(Class::Rejected));
        assert_eq!(class_of(75, &none), Some(Class::Failed));
        assert_eq!(class_of(3, &BTreeMap::from([(3, Class::Throttled)])), Some(Class::Throttled));
    }
}
