//! The files, programs and secrets of executors: are they there. No process is started, and nobody is called.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Inspection;
use crate::config::executor::ExecutorKind;
use crate::executors::built;
use crate::executors::command::config::CommandConfig;
use crate::executors::http::config::{Fault, HttpConfig};
use crate::executors::limits::ProcessLimits;
use crate::executors::python::config::PythonConfig;
use crate::secret::Secret;

impl Inspection<'_> {
    pub(super) fn plugins(&mut self) {
        for (name, executor) in &self.config.executors {
            let at = |key| ["executors", name, executor.kind.word(), key];
            let (key, found, limits) = match &executor.kind {
                ExecutorKind::Command(command) => ("run", self.program(command), command.limits()),
                ExecutorKind::Python(python) => ("entry", self.entry(python), python.limits()),
                ExecutorKind::Http(http) => {
                    self.endpoint(name, http);
                    continue;
                }
                ExecutorKind::Lambda(lambda) => {
                    self.is_built(name, "lambda");
                    for (key, why, fix) in lambda.faults() {
                        self.error(&at(key), why, fix);
                    }
                    for (key, secret) in lambda.credentials.iter().flat_map(|keys| keys.each()) {
                        if let Err(why) = secret.read(&self.source.base) {
                            let path = ["executors", name, "lambda", "credentials", key];
                            self.warn(&path, why, "it must be there when the worker starts");
                        }
                    }
                    continue;
                }
            };
            if let Err((why, fix)) = found {
                self.error(&at(key), why, fix);
            }
            if let ExecutorKind::Python(python) = &executor.kind
                && let Err((why, fix)) = self.executable(&python.python)
            {
                self.error(&at("python"), why, fix);
            }
            self.process(name, executor.kind.word(), &limits);
        }
    }

    fn program(&self, command: &CommandConfig) -> Found {
        match command.run.first() {
            Some(program) => self.executable(program),
            None => Err(("names no program".into(), "write [\"./program\", \"argument\"]")),
        }
    }

    fn entry(&self, python: &PythonConfig) -> Found {
        let Some((file, _)) = python.entry.rsplit_once(':').filter(|(file, name)| !file.is_empty() && !name.is_empty()) else {
            let why = format!("{:?} does not say what to call", python.entry);
            return Err((why, "write \"path/to/file.py:Class\" or \"path/to/file.py:function\""));
        };
        let path = self.source.base.join(file);
        let missing = || (format!("the file {} is not there", path.display()), "relative paths start from the config's folder");
        if path.is_file() { Ok(()) } else { Err(missing()) }
    }

    /// A program with a slash stands relative to the config file, another one is looked up as a shell would.
    fn executable(&self, program: &str) -> Found {
        let places: Vec<PathBuf> = if program.contains('/') {
            vec![self.source.base.join(program)]
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
        };
        let files: Vec<&PathBuf> = places.iter().filter(|place| place.is_file()).collect();
        if files.iter().any(|file| may_run(file)) {
            return Ok(());
        }
        match files.first() {
            Some(file) => Err((format!("{} may not be executed", file.display()), "chmod +x it, or name its interpreter first")),
            None if program.contains('/') => Err((
                format!("the program {} is not there", places[0].display()),
                "relative paths start from the config's folder",
            )),
            None => Err((format!("there is no program {program:?} on the PATH"), "install it, or write its path")),
        }
    }

    fn is_built(&mut self, name: &str, kind: &str) {
        if !built(kind) {
            let fix = format!("use one that was built with --features {kind}");
            self.error(&["executors", name, kind], format!("this build of windlass has no {kind}"), fix);
        }
    }

    /// What can be known of an endpoint without a call.
    fn endpoint(&mut self, name: &str, http: &HttpConfig) {
        let at = |key| ["executors", name, "http", key];
        self.is_built(name, "http");
        for Fault { key, why, fix } in http.faults() {
            self.error(&at(key), why, fix);
        }
        for (key, file) in [("ca", &http.tls.ca), ("certificate", &http.tls.certificate)] {
            if let Some(file) = file.as_ref().map(|file| self.source.base.join(file)).filter(|file| !file.is_file()) {
                let message = format!("the file {} is not there", file.display());
                self.error(&["executors", name, "http", "tls", key], message, "relative paths start from the config's folder");
            }
        }
        for (key, secret) in http.secrets() {
            if let Err(why) = secret.read(&self.source.base) {
                self.warn(&at(key), why, "it must be there when the worker starts");
            }
        }
    }

    fn process(&mut self, name: &str, kind: &str, limits: &ProcessLimits) {
        if let Some(directory) = limits.directory.as_ref().map(|directory| self.source.base.join(directory))
            && !directory.is_dir()
        {
            let message = format!("the folder {} is not there", directory.display());
            self.error(&["executors", name, kind, "directory"], message, "relative paths start from the config's folder");
        }
        for (variable, value) in &limits.env {
            let secret = Secret::parse(value).ok();
            if let Some(why) = secret.and_then(|secret| secret.read(&self.source.base).err()) {
                self.warn(&["executors", name, kind, "env", variable], why, "it must be there when the worker starts");
            }
        }
    }
}

/// What is wrong, and what to do about it.
type Found = Result<(), (String, &'static str)>;

fn may_run(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}
