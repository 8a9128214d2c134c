//! What a process sees of the worker's environment: a short list, and what its config sets.

use std::collections::BTreeMap;
use std::path::Path;

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
        let value = resolve(value, base).map_err(|why| format!("env.{name}: {why}"))?;
        variables.insert(name.clone(), value);
    }
    Ok(variables.into_iter().collect())
}

fn resolve(value: &str, base: &Path) -> Result<String, String> {
    if let Some(name) = value.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"));
    }
    if let Some(path) = value.strip_prefix("file:") {
        let path = base.join(path);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    Ok(value.to_owned())
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
