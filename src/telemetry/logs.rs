//! The log, to standard error: lines for people, or JSON for machines.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::names::LOG_FIELDS;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// Starts the log of the process.
///
/// # Errors
/// A sentence on the directives, or that there is a log already.
pub fn start(format: LogFormat, directives: &str) -> Result<(), String> {
    let terminal = std::io::stderr().is_terminal();
    let human = Human { terminal, coloured: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let subscriber = subscriber(format, human, filter(directives)?, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| "the log was started already".into())
}

/// Reads a level or directives such as `info,windlass::queues=debug`.
///
/// # Errors
/// A sentence that names the part that is neither.
pub fn filter(directives: &str) -> Result<EnvFilter, String> {
    for part in directives.split(',').map(str::trim) {
        // on its own, the library takes any word for the name of a module and shows everything of it
        if !part.contains('=') && (part.is_empty() || part.parse::<tracing::level_filters::LevelFilter>().is_err()) {
            return Err(format!("{part:?} is not a level: write error, warn, info, debug, trace, off or module=level"));
        }
    }
    EnvFilter::builder().parse(directives).map_err(|error| format!("{directives:?}: {error}"))
}

fn subscriber<W>(format: LogFormat, human: Human, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Human => Box::new(builder.event_format(human).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish()),
    }
}

/// One line: the time, the level where it is not `info`, the sentence, then what it is about.
#[derive(Clone, Copy)]
struct Human {
    /// Somebody is looking: the time of day is enough.
    terminal: bool,
    coloured: bool,
}

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = jiff::Timestamp::now().strftime(if self.terminal { "%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%SZ" });
        let (colour, level) = look(*event.metadata().level());
        match (self.coloured && !colour.is_empty(), level) {
            (_, "") => write!(out, "{now} ")?,
            (true, level) => write!(out, "{now} {colour}{level}\x1b[0m ")?,
            (false, level) => write!(out, "{now} {level} ")?,
        }
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(out, "{line}")
    }
}

fn look(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("\x1b[31m", "error:"),
        Level::WARN => ("\x1b[33m", "warning:"),
        Level::INFO => ("", ""),
        Level::DEBUG => ("\x1b[2m", "debug:"),
        Level::TRACE => ("\x1b[2m", "trace:"),
    }
}

/// The sentence of an event and its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // writing to a string cannot fail
            "message" => drop(write!(self.message, "{value:?}")),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        printable(f, &self.message)?;
        let rank = |name: &str| LOG_FIELDS.iter().position(|known| *known == name).map_or(0, |place| place + 1);
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(name, _)| rank(name));
        for (name, value) in fields {
            write!(f, " {name}=")?;
            printable(f, value)?;
        }
        Ok(())
    }
}

/// Text of plugins and producers gets into the log: it must not forge lines or steer the terminal.
fn printable(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| if c.is_control() && c != '\t' { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, directives: &str, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let human = Human { terminal: true, coloured: false };
        let subscriber = subscriber(format, human, filter(directives).unwrap(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_for_people_has_the_sentence_first_and_no_module_names() {
        let text = logged(LogFormat::Human, "info", || {
            tracing::warn!(job = "j1", attempt = 2, pool = %"default", took = 3, "the run has failed");
            tracing::debug!("not shown");
        });
        assert_eq!(&text[8..], " warning: the run has failed took=3 pool=default job=j1 attempt=2\n");
    }

    #[test]
    fn a_line_for_machines_is_json_with_its_fields_at_the_top() {
        let text = logged(LogFormat::Json, "info", || tracing::info!(job = "j1", attempt = 2, queue = "jobs", "a \"line\""));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["job"], &line["attempt"], &line["queue"]), (&"j1".into(), &2.into(), &"jobs".into()));
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"a \"line\"".into()));
    }

    #[test]
    fn what_a_plugin_says_can_neither_forge_a_line_nor_steer_the_terminal() {
        let text = logged(LogFormat::Human, "info", || tracing::info!(job = "a\nb", "one\n08:00:00 two\x1b[2J"));
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\x1b') && text.contains("job=a\\nb"), "{text}");
    }

    #[test]
    fn a_level_that_is_none_is_refused_and_not_taken_for_a_module() {
        for wrong in ["inof", "", "info,,debug", "windlass::queues"] {
            assert!(filter(wrong).unwrap_err().contains("is not a level"), "{wrong}");
        }
        assert!(filter("info,windlass::queues=debug").is_ok());
        assert!(filter("windlass=loud").is_err());
    }
}
