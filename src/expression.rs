//! Expressions over a job in CEL (Common Expression Language, cel.dev): compiled once, checked, and bounded in what they cost.

mod inspect;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use cel::extractors::This;
use cel::objects::Key;
use cel::{Context, Env, ExecutionError, Program, Value};

use crate::job::life::shorten;
use crate::job::{Data, Job};
use crate::outcome::Output;

/// The longest expression, in bytes.
const LONGEST: usize = 1000;
/// With `all`, `exists`, `map` and `filter` an expression goes over its data, so that is bounded.
const LARGEST_GONE_OVER: usize = 64 * 1024;
const MOST_ELEMENTS: usize = 1000;
/// Of an error, which may quote the data, in bytes.
const LONGEST_ERROR: usize = 500;

/// An expression that may be evaluated.
pub struct Expression {
    source: String,
    program: Program,
    uses: Uses,
}

/// What an expression looks at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Uses {
    data: bool,
    result: bool,
    /// The keys of `job`; all of them when it is used as a whole.
    job: Vec<String>,
    whole_job: bool,
    /// It goes over lists.
    macros: bool,
}

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
}

/// What an expression is evaluated over.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub job: &'a Job,
    /// What the run returned, once it is done.
    pub result: Option<&'a Output>,
}

/// Which variables an expression may name beside `job` and `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Before the run.
    Job,
    /// After the run: `result` too.
    Result,
}

/// The keys of `job`.
pub const JOB_KEYS: [&str; 9] = ["id", "type", "version", "key", "tenant", "priority", "attempt", "replay", "batch"];

impl Expression {
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(source: &str, scope: Scope) -> Result<Self, Wrong> {
        let whole = |message: String| Wrong { column: 1, message };
        if source.trim().is_empty() {
            return Err(whole("empty".into()));
        }
        if source.len() > LONGEST {
            return Err(whole(format!("{} bytes long; at most {LONGEST} are evaluated", source.len())));
        }
        inspect::nesting(source)?;
        let program = environment().compile(source).map_err(|errors| {
            let first = errors.errors.first();
            Wrong {
                column: first.and_then(|error| usize::try_from(error.pos.1).ok()).unwrap_or(1).max(1),
                message: first.map_or("cannot be read".into(), |error| error.msg.lines().next().unwrap_or_default().to_owned()),
            }
        })?;
        let uses = inspect::uses(&program, scope)?;
        Ok(Expression { source: source.to_owned(), program, uses })
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// Why it has no answer: a key that is missing, types that do not fit, or an answer that is neither true nor false.
    pub fn holds(&self, subject: Subject<'_>) -> Result<bool, String> {
        match self.evaluate(subject)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("the answer is {}, neither true nor false", kind(&other))),
        }
    }

    /// Its answer as text; none where it is null.
    ///
    /// # Errors
    /// Why it has no answer, or that the answer is a list or a map.
    pub fn text(&self, subject: Subject<'_>) -> Result<Option<String>, String> {
        match self.evaluate(subject)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.to_string())),
            Value::Int(number) => Ok(Some(number.to_string())),
            Value::UInt(number) => Ok(Some(number.to_string())),
            Value::Float(number) => Ok(Some(number.to_string())),
            Value::Bool(truth) => Ok(Some(truth.to_string())),
            other => Err(format!("the answer is {}, not text or a number", kind(&other))),
        }
    }

    fn evaluate(&self, subject: Subject<'_>) -> Result<Value, String> {
        let mut context = Context::with_env(environment().clone());
        // a function of a name that the environment does not have cannot be refused
        let _ = context.add_function("at", at);
        if self.uses.whole_job || !self.uses.job.is_empty() {
            context.add_variable_from_value("job", self.job(subject.job));
        }
        if self.uses.data {
            let data = match &subject.job.data {
                Data::Json(json) => self.json("data", json)?,
                Data::Binary(bytes) => Value::Bytes(Arc::new(bytes.to_vec())),
            };
            context.add_variable_from_value("data", data);
        }
        if self.uses.result {
            let result = match subject.result {
                None | Some(Output::Nothing) => Value::Null,
                Some(Output::Json(json)) => self.json("result", json)?,
                Some(Output::Binary(bytes)) => Value::Bytes(Arc::new(bytes.to_vec())),
            };
            context.add_variable_from_value("result", result);
        }
        self.program.execute(&context).map_err(|error| explain(&error))
    }

    fn json(&self, name: &str, json: &[u8]) -> Result<Value, String> {
        if self.uses.macros && json.len() > LARGEST_GONE_OVER {
            return Err(format!(
                "{name} has {} bytes; all, exists, map and filter go over at most {LARGEST_GONE_OVER}",
                json.len()
            ));
        }
        let json = serde_json::from_slice(json).map_err(|error| format!("{name} is not JSON: {error}"))?;
        value(json, if self.uses.macros { MOST_ELEMENTS } else { usize::MAX })
    }

    fn job(&self, job: &Job) -> Value {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(Value::Null, |text| Value::from(&**text));
        let used = JOB_KEYS.iter().filter(|key| self.uses.whole_job || self.uses.job.iter().any(|used| used == **key));
        let entry = |key: &&str| {
            let value = match *key {
                "id" => Value::from(&*job.id),
                "type" => Value::from(&*job.kind),
                "version" => text(&job.version),
                "key" => text(&job.key),
                "tenant" => Value::from(&*job.tenant),
                "priority" => Value::Int(job.priority.into()),
                "attempt" => Value::Int(job.run_number().into()),
                "replay" => Value::Int(job.life.replay.into()),
                _ => text(&job.batch.as_ref().map(|batch| batch.id.clone())),
            };
            (Key::from(*key), value)
        };
        used.map(entry).collect::<HashMap<Key, Value>>().into()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib().with_optional_support(false)))
}

/// `data.at("/a/b")`: what stands at a JSON pointer (RFC 6901); null where nothing does.
fn at(This(value): This<Value>, pointer: Arc<String>) -> Result<Value, ExecutionError> {
    if pointer.is_empty() {
        return Ok(value);
    }
    let Some(steps) = pointer.strip_prefix('/') else {
        return Err(ExecutionError::function_error("at", format!("{pointer:?} is not a JSON pointer: it starts with /")));
    };
    let mut found = value;
    for step in steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")) {
        let next = match &found {
            Value::Map(map) => map.map.get(&Key::from(step)).cloned(),
            Value::List(list) => step.parse::<usize>().ok().and_then(|index| list.get(index).cloned()),
            _ => None,
        };
        let Some(next) = next else { return Ok(Value::Null) };
        found = next;
    }
    Ok(found)
}

/// Numbers become the smallest kind that holds them, so that comparing them with what is written in an expression works.
fn value(json: serde_json::Value, most: usize) -> Result<Value, String> {
    let too_many =
        |count: usize| format!("a list or map of {count}; all, exists, map and filter go over at most {most} elements");
    Ok(match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::String(Arc::new(text)),
        serde_json::Value::Array(items) if items.len() > most => return Err(too_many(items.len())),
        serde_json::Value::Object(map) if map.len() > most => return Err(too_many(map.len())),
        serde_json::Value::Array(items) => {
            Value::List(Arc::new(items.into_iter().map(|item| value(item, most)).collect::<Result<_, _>>()?))
        }
        serde_json::Value::Object(map) => {
            let entries = map.into_iter().map(|(key, item)| Ok((Key::from(key), value(item, most)?)));
            entries.collect::<Result<HashMap<Key, Value>, String>>()?.into()
        }
    })
}

fn explain(error: &ExecutionError) -> String {
    let text = match error {
        ExecutionError::NoSuchKey(key) => format!("there is no key {key:?}; ask with has(…) first, or with .at(\"/…\")"),
        error => error.to_string(),
    };
    shorten(&text, LONGEST_ERROR).to_owned()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::String(_) => "text",
        Value::Bytes(_) => "bytes",
        Value::Bool(_) => "true or false",
        Value::Null => "null",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests;
