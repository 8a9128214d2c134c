//! Texts with places for what stands in a job, in the language of Jinja (minijinja), with what is put in escaped for where it
//! stands.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::job::life::shorten;
use crate::job::{Data, Job};
use crate::ports::Context;

/// Steps of one rendering; a loop over the data takes a few for each element.
const FUEL: u64 = 1_000_000;
/// Of an error, which may quote the data, in bytes.
const LONGEST_ERROR: usize = 300;
/// All but the unreserved characters of RFC 3986.
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What becomes of a value where it is put in; one that is marked `| safe` is put in as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    Nothing,
    /// Any value becomes JSON, text with its quotes.
    Json,
    /// Text becomes part of a path or a query, and can be nothing else.
    Url,
}

/// A text that was read and may be filled in.
pub struct Template {
    environment: Environment<'static>,
}

/// What a template is filled from.
#[derive(Debug)]
pub struct Values(Value);

/// Whether a text has places to fill in.
#[must_use]
pub fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|start| text.contains(start))
}

impl Template {
    /// # Errors
    /// What is wrong with it, and in which line.
    pub fn compile(text: &str, escape: Escape) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        match escape {
            Escape::Nothing => environment.set_auto_escape_callback(|_| AutoEscape::None),
            Escape::Json => environment.set_auto_escape_callback(|_| AutoEscape::Json),
            Escape::Url => {
                environment.set_auto_escape_callback(|_| AutoEscape::None);
                environment.set_formatter(|out, _, value| {
                    let text = value.to_string();
                    let written = if value.is_safe() { out.write_str(&text) } else { write_encoded(out, &text) };
                    written.map_err(|error| minijinja::Error::new(ErrorKind::WriteFailure, error.to_string()))
                });
            }
        }
        environment.add_template_owned("text", text.to_owned()).map_err(|error| told(&error))?;
        Ok(Template { environment })
    }

    /// # Errors
    /// What the job does not have, or why it does not fit.
    pub fn render(&self, values: &Values) -> Result<String, String> {
        let template = self.environment.get_template("text").map_err(|error| told(&error))?;
        template.render(values.0.clone()).map_err(|error| told(&error))
    }
}

fn write_encoded(out: &mut minijinja::Output<'_>, text: &str) -> fmt::Result {
    utf8_percent_encode(text, RESERVED).try_for_each(|part| out.write_str(part))
}

fn told(error: &minijinja::Error) -> String {
    let what = match error.kind() {
        ErrorKind::UndefinedError => {
            "the job has no such value: ask with \"is defined\" or give one with \"| default(…)\"".into()
        }
        ErrorKind::OutOfFuel => format!("more than {FUEL} steps"),
        kind => error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    };
    let place = error.line().map_or_else(String::new, |line| format!("line {line}: "));
    let named = error.range().zip(error.template_source()).and_then(|(range, text)| text.get(range));
    let named = named.map_or_else(String::new, |text| format!(" ({})", text.trim()));
    shorten(&format!("{place}{what}{named}"), LONGEST_ERROR).to_owned()
}

impl Values {
    /// # Errors
    /// When the data claims to be JSON and is not.
    pub fn of(job: &Job, context: &Context) -> Result<Self, String> {
        let data = match &job.data {
            Data::Json(json) => serde_json::from_slice(json).map_err(|error| format!("data is not JSON: {error}"))?,
            Data::Binary(bytes) => json!(STANDARD.encode(bytes)),
        };
        let job = json!({
            "id": job.id, "type": job.kind, "version": job.version, "key": job.key, "tenant": job.tenant,
            "priority": job.priority, "attempt": context.attempt, "replay": job.life.replay,
            "batch": job.batch.as_ref().map(|batch| &batch.id),
        });
        Ok(Values(Value::from(Serde(json!({ "job": job, "data": data })))))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::executors::fixtures;

    fn filled(text: &str, escape: Escape, data: &serde_json::Value) -> Result<String, String> {
        let context = Context::new("job-1".into(), "r".into(), Duration::from_secs(1));
        Template::compile(text, escape)?.render(&Values::of(&fixtures::job(data), &context)?)
    }

    #[test]
    fn in_json_a_value_is_json_and_can_be_nothing_else() {
        let data = json!({"name": "a\",\"admin\":true,\"b\":\"", "list": [1, "x"], "none": null});
        let text = filled("{\"n\": {{ data.name }}, \"l\": {{ data.list }}, \"z\": {{ data.none }}}\n", Escape::Json, &data);
        let json: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
        assert_eq!(json, json!({"n": data["name"], "l": data["list"], "z": null}));
    }

    #[test]
    fn in_an_address_a_value_stays_within_its_place() {
        let data = json!({"id": "../admin?x=1#y", "url": "https://a.example/b"});
        assert_eq!(filled("/o/{{ data.id }}", Escape::Url, &data).unwrap(), "/o/..%2Fadmin%3Fx%3D1%23y");
        assert_eq!(filled("{{ data.url | safe }}", Escape::Url, &data).unwrap(), "https://a.example/b");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_line() {
        let missing = filled("a\n{{ data.nope }}", Escape::Nothing, &json!({})).unwrap_err();
        assert!(missing.starts_with("line 2: the job has no such value") && missing.contains("data.nope"), "{missing}");
        let broken = Template::compile("{{ data.", Escape::Nothing).unwrap_err();
        assert!(broken.starts_with("line 1: "), "{broken}");
        let endless =
            filled("{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}", Escape::Nothing, &json!(1));
        assert!(endless.unwrap_err().contains("steps"));
        assert_eq!(
            filled("{{ job.id }} {{ job.attempt }} {{ data.x | default('none') }}", Escape::Nothing, &json!({})).unwrap(),
            "job-1 1 none"
        );
    }
}
