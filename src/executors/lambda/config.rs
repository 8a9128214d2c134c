//! The block `lambda:` of an executor.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::executors::payload::Format;
use crate::expression::{Expression, Scope};
use crate::outcome::Class;
use crate::secret::Secret;
use crate::units::{Size, Span};

/// Credentials of AWS, by reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub access_key: Secret,
    pub secret_key: Secret,
    #[serde(default)]
    pub session_token: Option<Secret>,
}

impl Keys {
    /// Each with its key.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Secret)> {
        let token = self.session_token.as_ref().map(|token| ("session_token", token));
        [("access_key", &self.access_key), ("secret_key", &self.secret_key)].into_iter().chain(token)
    }
}

/// The largest event and the largest answer of a call that waits for its answer.
pub const LARGEST: u64 = 6 * 1024 * 1024;

/// `{ lambda: { function: invoices, region: eu-west-1 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaConfig {
    /// Its name or ARN.
    pub function: String,
    /// An alias or a version.
    #[serde(default)]
    pub qualifier: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    /// A profile in the files of the AWS command line.
    #[serde(default)]
    pub profile: Option<String>,
    /// The ARN of a role to take on.
    #[serde(default)]
    pub role: Option<String>,
    /// In the place of those that a profile or the environment has.
    #[serde(default)]
    pub credentials: Option<Keys>,
    /// An address in the place of the service's own.
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub format: Format,
    /// An expression over the answer that is true of success.
    #[serde(default)]
    pub success: Option<String>,
    /// The class of a function's own error, by its `errorType`.
    #[serde(default)]
    pub errors: BTreeMap<String, Class>,
    /// Calls at once; `slots` bounds them too.
    #[serde(default)]
    pub concurrency: Option<usize>,
    #[serde(default = "ten_seconds")]
    pub connect_timeout: Span,
    /// The largest answer.
    #[serde(default = "largest")]
    pub output: Size,
}

impl LambdaConfig {
    /// What cannot work whatever the world is like: the key, why, and the fix.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut faults = Vec::new();
        if self.function.is_empty() || self.function.contains(char::is_whitespace) {
            faults.push(("function", format!("{:?} is no function", self.function), "write its name or its ARN"));
        }
        if self.format == Format::CloudeventsBinary {
            let why = "an event of Lambda has no headers".to_owned();
            faults.push(("format", why, "write cloudevents, which is one document"));
        }
        if let Some(role) = self.role.as_ref().filter(|role| !role.starts_with("arn:")) {
            faults.push(("role", format!("{role:?} is no ARN"), "write arn:aws:iam::ACCOUNT:role/NAME"));
        }
        if let Some(endpoint) = self.endpoint.as_ref().filter(|endpoint| !endpoint.starts_with("http")) {
            faults.push(("endpoint", format!("{endpoint:?} is no address"), "write https://host, or leave it out"));
        }
        let rule = self.success.as_deref().map(|rule| Expression::compile(rule, Scope::Result));
        if let Some(Err(wrong)) = rule {
            let why = format!("column {}: {}", wrong.column, wrong.message);
            faults.push(("success", why, "write an expression over result, such as result.statusCode == 200"));
        }
        if self.concurrency == Some(0) {
            faults.push(("concurrency", "no job would ever be let in".into(), "write 1 or more, or null"));
        }
        if self.output.0 > LARGEST {
            faults.push(("output", "Lambda answers with at most 6MiB".into(), "write 6MiB or less"));
        }
        faults
    }

    /// The function as an operator names it.
    #[must_use]
    pub fn name(&self) -> String {
        self.qualifier.as_ref().map_or_else(|| self.function.clone(), |qualifier| format!("{}:{qualifier}", self.function))
    }
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

fn largest() -> Size {
    Size(LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_names_its_key() {
        let keys = |block: serde_json::Value| -> Vec<&'static str> {
            let config: LambdaConfig = serde_json::from_value(block).unwrap();
            config.faults().into_iter().map(|(key, ..)| key).collect()
        };
        assert_eq!(keys(serde_json::json!({"function": "f"})), [""; 0]);
        let all = serde_json::json!({
            "function": "a b", "format": "cloudevents_binary", "role": "admin", "endpoint": "here", "success": "result.",
            "concurrency": 0, "output": "7MiB",
        });
        assert_eq!(keys(all), ["function", "format", "role", "endpoint", "success", "concurrency", "output"]);
    }
}
