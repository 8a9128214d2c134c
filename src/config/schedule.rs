//! The block of one schedule: when a job is submitted by itself, and which.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rhythm::Rhythm;
use crate::schedules::CatchUp;
use crate::units::{Span, spell_duration};

/// `{ cron: "0 7 * * *", zone: Europe/Vienna, queue: jobs, type: report.daily }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day, month, weekday; with six fields, seconds first.
    #[serde(default)]
    pub cron: Option<String>,
    /// At the multiples of this span since 1970 UTC, in place of `cron`.
    #[serde(default)]
    pub every: Option<Span>,
    /// The IANA time zone of `cron`.
    #[serde(default = "utc")]
    pub zone: String,
    pub queue: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub data: Value,
    #[serde(default)]
    pub tenant: Option<String>,
    #[serde(default)]
    pub key: Option<String>,
    #[serde(default)]
    pub priority: Option<u8>,
    /// What is made up for once a worker is back.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Each job waits a part of this after its due time, always the same for the same time.
    #[serde(default)]
    pub jitter: Option<Span>,
}

fn utc() -> String {
    "UTC".into()
}

impl Schedule {
    /// When it is due.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn rhythm(&self) -> Result<Rhythm, (&'static str, String)> {
        match (&self.cron, self.every) {
            (Some(pattern), None) => {
                let zone = TimeZone::get(&self.zone).map_err(|_| ("zone", format!("{:?} is no IANA time zone", self.zone)))?;
                Rhythm::cron(pattern, zone).map_err(|why| ("cron", why))
            }
            (None, Some(every)) => Ok(Rhythm::Every(every.0)),
            (Some(_), Some(_)) => Err(("every", "there is a cron already: a schedule has one of them".into())),
            (None, None) => Err(("", "it is never due: it has neither cron nor every".into())),
        }
    }

    /// When it is due, as it was written: a schedule that is written anew starts anew.
    #[must_use]
    pub fn spelled(&self) -> String {
        match (&self.cron, self.every) {
            (Some(pattern), _) => format!("{pattern} {}", self.zone),
            (None, Some(every)) => format!("every {}", spell_duration(every.0)),
            (None, None) => String::new(),
        }
    }
}
