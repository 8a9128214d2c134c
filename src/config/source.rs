//! Where a config comes from: found, read, filled in from the environment, turned into types.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Config;
use super::check::{inspect, render};
use super::interpolate::{Environment, interpolate};
use super::node::{Mark, Node, Value};
use super::problem::Problem;
use super::read::read;
use super::yaml;

/// The file that is looked for in the current directory.
const HERE: &str = "windlass.yaml";

/// The config file to read: the one given, else `$WINDLASS_CONFIG`, else `./windlass.yaml` if it is there, else none,
/// for the defaults.
#[must_use]
pub fn locate(given: Option<PathBuf>) -> Option<PathBuf> {
    let named = given.or_else(|| std::env::var_os("WINDLASS_CONFIG").filter(|path| !path.is_empty()).map(Into::into));
    named.or_else(|| Some(PathBuf::from(HERE)).filter(|path| path.exists()))
}

/// A config that may be run.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub source: Source,
    pub warnings: Vec<Problem>,
}

/// What the config was read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// None for the defaults.
    pub file: Option<PathBuf>,
    /// The folder that relative paths in the config start from.
    pub base: PathBuf,
    pub text: String,
    pub(super) root: Node,
}

/// A config that may not be run, with everything that is wrong with it.
#[derive(Debug)]
pub struct Refused {
    pub problems: Vec<Problem>,
    pub text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.problems, &self.text))
    }
}

impl std::error::Error for Refused {}

/// What a config is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run its jobs: the plugins must be there.
    Work,
    /// To reach its queues: whoever looks after them may stand on another machine, or mend what a missing plugin has broken.
    Operate,
}

/// Reads a config file, or the defaults when there is none.
///
/// # Errors
/// Everything that is wrong with it at once.
pub fn load(file: Option<&Path>) -> Result<Loaded, Refused> {
    load_with(file, &|name| std::env::var(name).ok())
}

/// As [`load`], but whether the files of plugins are there is left to the worker.
///
/// # Errors
/// Everything else that is wrong with it at once.
pub fn load_to_operate(file: Option<&Path>) -> Result<Loaded, Refused> {
    load_for(Purpose::Operate, file, &|name| std::env::var(name).ok())
}

/// As [`load`], with the environment handed in.
///
/// # Errors
/// Everything that is wrong with it at once.
pub fn load_with(file: Option<&Path>, environment: &Environment<'_>) -> Result<Loaded, Refused> {
    load_for(Purpose::Work, file, environment)
}

fn load_for(purpose: Purpose, file: Option<&Path>, environment: &Environment<'_>) -> Result<Loaded, Refused> {
    let (source, config, problems) = examine(purpose, file, environment);
    match config {
        Some(config) if !problems.iter().any(Problem::is_error) => Ok(Loaded { config, source, warnings: problems }),
        _ => Err(Refused { problems, text: source.text }),
    }
}

/// Reads what can be read, and all that is wrong with it in the order of the file.
pub(super) fn examine(
    purpose: Purpose,
    file: Option<&Path>,
    environment: &Environment<'_>,
) -> (Source, Option<Config>, Vec<Problem>) {
    let mut source = Source {
        file: file.map(Path::to_owned),
        base: file.and_then(Path::parent).map(Path::to_owned).unwrap_or_default(),
        text: String::new(),
        root: Node::new(Mark { line: 1, column: 1 }, Value::Map(Vec::new())),
    };
    let (config, mut problems) = understand(purpose, &mut source, environment);
    let name: Arc<str> = file.map_or_else(String::new, |file| file.display().to_string()).into();
    for problem in &mut problems {
        problem.file = name.clone();
    }
    problems.sort_by_key(|problem| (problem.severity, problem.place));
    (source, config, problems)
}

fn understand(purpose: Purpose, source: &mut Source, environment: &Environment<'_>) -> (Option<Config>, Vec<Problem>) {
    if let Some(file) = &source.file {
        match fs::read_to_string(file) {
            Ok(text) => source.text = text,
            Err(error) => return (None, vec![Problem::at(None, "", format!("cannot be read: {error}"))]),
        }
    }
    let parsed = match yaml::parse(&source.text) {
        Ok(parsed) => parsed,
        Err(problem) => return (None, vec![problem]),
    };
    source.root = parsed.root;
    let mut problems = parsed.problems;
    problems.extend(interpolate(&mut source.root, environment));
    let (config, faults) = read::<Config>(&source.root);
    problems.extend(faults);
    let whole = problems.is_empty();
    let config = config.map(|mut config| {
        config.complete();
        problems.extend(inspect(purpose, source, &config, whole));
        config
    });
    (config, problems)
}
