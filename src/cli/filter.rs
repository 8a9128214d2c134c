//! The options that choose jobs, as the API's filter.

use clap::Args;

use super::session::Ask;
use crate::units::parse_duration;

/// Which jobs; without any of these, all.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Which")]
pub struct FilterArgs {
    /// Of this queue
    #[arg(long)]
    pub queue: Option<String>,
    /// Dead-lettered for this reason, such as failed, rejected or poison
    #[arg(long)]
    reason: Option<String>,
    /// Whose last run failed with this class, such as timeout
    #[arg(long)]
    class: Option<String>,
    /// Of this type, or of all types that match, such as "image.*"
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Run by this route, as its type is written in the config
    #[arg(long)]
    route: Option<String>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Submitted (dead letters: died) at least this long ago, such as 1h
    #[arg(long, value_name = "AGE", value_parser = spelled)]
    older_than: Option<String>,
    /// Submitted (dead letters: died) at most this long ago
    #[arg(long, value_name = "AGE", value_parser = spelled)]
    newer_than: Option<String>,
    /// With this text in the body or the failure message
    #[arg(long)]
    text: Option<String>,
}

impl FilterArgs {
    /// The keys of the API's filter that are set.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("queue", &self.queue),
            ("reason", &self.reason),
            ("class", &self.class),
            ("type", &self.kind),
            ("route", &self.route),
            ("tenant", &self.tenant),
            ("older_than", &self.older_than),
            ("newer_than", &self.newer_than),
            ("text", &self.text),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))).collect()
    }

    /// Asks for what matches.
    #[must_use]
    pub fn narrow(&self, ask: Ask) -> Ask {
        self.pairs().into_iter().fold(ask, |ask, (key, value)| ask.with(key, value))
    }
}

/// Checks a duration and keeps it as it was spelled.
pub fn spelled(text: &str) -> Result<String, String> {
    parse_duration(text).map(|_| text.to_owned())
}
