//! What a process sees of the worker's environment: a short list, and what its config sets.

use std::collections::BTreeMap;
use std::path::Path;

use crate::secret::Secret;

/// The worker's variables that every process sees.
const ALWAYS: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// The variables for a process: the allowed ones of the worker, then those set, which win. A set value `env:NAME` or
/// `file:PATH` (relative to `base`) is read from there.
///
/// # Errors
/// A sentence that names the variable whose value cannot be read.
pub fn environment(allow: &[String], set: &BTreeMap<String, String>, base: &Path) -> Result<Vec<(String, String)>, String> {
    let names = ALWAYS.iter().copied().chain(allow.iter().map(String::as_str));
    let mut variables: BTreeMap<String, String> =
        names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect();
    for (name, value) in set {
        let value = match Secret::parse(value) {
            Ok(secret) => secret.read(base).map_err(|why| format!("env.{name}: {why}"))?,
            Err(_plain) => value.clone(),
        };
        variables.insert(name.clone(), value);
    }
    Ok(variables.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn only_listed_variables_pass_and_set_ones_win() {
        let variables = environment(&[], &set("TZ", "UTC"), Path::new("/")).unwrap();
        assert!(variables.contains(&("TZ".into(), "UTC".into())));
        assert!(variables.iter().any(|(name, _)| name == "PATH"));
        assert!(variables.iter().all(|(name, _)| ALWAYS.contains(&name.as_str())), "{variables:?}");
        assert!(std::env::var_os("CARGO").is_some(), "the test proves something only where there is more to see");
    }

    #[test]
    fn a_secret_is_read_from_where_it_lies_and_its_absence_names_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
        let variables = environment(&[], &set("TOKEN", "file:token"), folder.path()).unwrap();
        assert!(variables.contains(&("TOKEN".into(), "s3cret".into())));
        let why = environment(&[], &set("TOKEN", "env:WINDLASS_NO_SUCH"), folder.path()).unwrap_err();
        assert!(why.contains("env.TOKEN") && why.contains("WINDLASS_NO_SUCH"), "{why}");
    }
}
