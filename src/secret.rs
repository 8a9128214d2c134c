//! Secrets by reference: the config names where one is, it is read late, and only the name is ever shown.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `env:NAME` or `file:PATH`, the path relative to the config file.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Env(String),
    File(PathBuf),
}

impl Secret {
    /// # Errors
    /// How a reference is written; what was given is not repeated, as it may be the secret itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Secret::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Secret::File(path.into())),
            _ => Err("a secret does not stand here itself: write \"env:NAME\" or \"file:PATH\"".into()),
        }
    }

    /// The secret, without the line break that ends a file.
    ///
    /// # Errors
    /// A sentence that names the reference only.
    pub fn read(&self, base: &Path) -> Result<String, String> {
        let secret = match self {
            Secret::Env(name) => std::env::var(name).map_err(|_| format!("{self}: the environment variable is not set"))?,
            Secret::File(path) => std::fs::read_to_string(base.join(path)).map_err(|error| format!("{self}: {error}"))?,
        };
        let secret = secret.trim_end_matches(['\r', '\n']);
        if secret.is_empty() { Err(format!("{self}: empty")) } else { Ok(secret.to_owned()) }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "env:{name}"),
            Secret::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_late_and_its_errors_name_the_reference_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hunter2\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        assert_eq!(Secret::parse("file:token").unwrap().read(folder.path()).unwrap(), "hunter2");
        assert_eq!(Secret::parse("env:PATH").unwrap().read(folder.path()).unwrap(), std::env::var("PATH").unwrap());
        for reference in ["file:nowhere", "file:empty", "env:WINDLASS_NO_SUCH_VARIABLE"] {
            assert!(Secret::parse(reference).unwrap().read(folder.path()).unwrap_err().starts_with(reference));
        }
    }

    #[test]
    fn a_literal_secret_is_refused_without_repeating_it() {
        for literal in ["hunter2", "env:", "file:", "vault:hunter2"] {
            assert!(!Secret::parse(literal).unwrap_err().contains("hunter2"));
        }
    }

    #[test]
    fn neither_debug_nor_serialize_shows_more_than_the_reference() {
        let secret = Secret::parse("env:PATH").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(env:PATH)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"env:PATH\"");
    }
}
