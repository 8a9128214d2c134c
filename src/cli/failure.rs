//! Why a command ended early: one sentence, how to put it right, and the exit code.

use std::io;

use serde_json::json;

use super::Exit;
use crate::config::Refused;

/// Printed as `error: …` and `fix: …` to standard error.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    pub fix: Option<String>,
    /// What is wrong with the config, where that is the reason.
    config: Option<Box<Refused>>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: message.into(), fix: None, config: None }
    }

    pub fn config(refused: Refused) -> Self {
        Failure { config: Some(Box::new(refused)), ..Failure::usage("the config cannot be used as it is") }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Failure::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Failure::new(Exit::NotFound, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Failure::new(Exit::Unavailable, message)
    }

    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Failure { fix: Some(fix.into()), ..self }
    }

    /// Prints it and picks the exit code.
    pub fn report(self, json: bool) -> Exit {
        if self.message.is_empty() {
            return self.exit;
        }
        if json {
            let problems = self.config.as_ref().map(|refused| &refused.problems);
            eprintln!("{}", json!({ "error": { "message": self.message, "fix": self.fix, "problems": problems } }));
            return self.exit;
        }
        eprintln!("error: {}", self.message.trim_end());
        if let Some(fix) = &self.fix {
            eprintln!("fix: {fix}");
        }
        if let Some(refused) = &self.config {
            eprint!("\n{refused}");
        }
        self.exit
    }
}

impl From<io::Error> for Failure {
    /// Of writing to standard output: a reader that went away wants no more, and that is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, ""),
            _ => Failure::failed(format!("cannot write the answer: {error}")),
        }
    }
}
