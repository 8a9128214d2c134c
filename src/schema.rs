//! The published JSON Schemas (2020-12): what comes in, what comes out, and what travels with a job.

use serde_json::Value;

/// What `windlass schema` can print.
pub const NAMES: [&str; 5] = ["job", "result", "batch", "failure", "life"];

const JOB: &str = include_str!("schema/job.json");
const RESULT: &str = include_str!("schema/result.json");
const BATCH: &str = include_str!("schema/batch.json");
const FAILURE: &str = include_str!("schema/failure.json");
const LIFE: &str = include_str!("schema/life.json");

/// A schema by name, complete in itself: what it refers to is bundled into its `$defs`.
///
/// # Errors
/// A sentence with the names that exist.
pub fn schema(name: &str) -> Result<Value, String> {
    let (text, refers) = match name {
        "job" => (JOB, false),
        "result" => (RESULT, true),
        "batch" => (BATCH, false),
        "failure" => (FAILURE, false),
        "life" => (LIFE, true),
        _ => return Err(format!("there is no schema {name:?}: {}", NAMES.join(", "))),
    };
    let mut schema = parse(name, text)?;
    if refers {
        schema["$defs"]["failure"] = parse("failure", FAILURE)?;
    }
    Ok(schema)
}

fn parse(name: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("the schema {name:?} is not JSON: {error}"))
}

#[cfg(test)]
mod tests;
