//! Which stores a command is about: those of the config, or one file named by hand.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::cli::{Failure, Globals};
use crate::config::{self, Config, QueueKind, State};
use crate::queues::embedded::config::EmbeddedConfig;
use crate::queues::embedded::socket_path;

/// How the stores are named on the command line.
#[derive(Clone, Debug, Default, Args)]
pub struct Reach {
    /// This database file, whatever the config says
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "config", help_heading = "Where")]
    pub db: Option<PathBuf>,
}

/// What is done where a store does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A new one is made: jobs go in.
    Create,
    /// There is nothing to see.
    Refuse,
}

/// The config of a command and the folder its paths start from.
#[derive(Clone, Debug)]
pub struct Target {
    pub config: Config,
    pub base: PathBuf,
}

impl Reach {
    /// Reads the config, or makes one around the file. Plugins that are not there are no reason to lock operators out.
    ///
    /// # Errors
    /// When the config is wrong.
    pub fn target(&self, globals: &Globals) -> Result<Target, Failure> {
        if let Some(path) = &self.db {
            let mut config = Config::default();
            for queue in config.queues.values_mut() {
                queue.kind = QueueKind::Embedded(EmbeddedConfig { path: path.clone(), ..EmbeddedConfig::default() });
            }
            config.state = Some(State::in_file(path));
            return Ok(Target { config, base: PathBuf::new() });
        }
        let loaded = config::load_to_operate(globals.file().as_deref()).map_err(Failure::config)?;
        Ok(Target { config: loaded.config, base: loaded.source.base })
    }
}

impl Target {
    /// The database files.
    #[must_use]
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let path = |kind: &QueueKind| match kind {
            QueueKind::Embedded(embedded) => Some(self.base.join(&embedded.path)),
            _ => None,
        };
        let state = self.config.state.as_ref().and_then(State::file).map(|file| self.base.join(file));
        self.config.queues.values().filter_map(|queue| path(&queue.kind)).chain(state).collect()
    }

    /// Whether operators reach queues that lie in no file of this machine.
    #[must_use]
    pub fn elsewhere(&self) -> bool {
        let here = |kind: &QueueKind| matches!(kind, QueueKind::Embedded(_) | QueueKind::Memory(_));
        self.config.queues.values().any(|queue| !here(&queue.kind))
    }

    /// Where their owners listen.
    pub fn sockets(&self) -> impl Iterator<Item = PathBuf> {
        self.files().into_iter().map(|file| socket_path(&file))
    }
}
