//! A job to run in the executors' own tests.

use crate::job::{DEFAULT_PRIORITY, Data, Job, Life};

/// A job with this data.
pub fn job(data: &serde_json::Value) -> Job {
    Job {
        id: "job-1".into(),
        kind: "test.job".into(),
        version: None,
        data: Data::Json(data.to_string().into()),
        key: None,
        tenant: "default".into(),
        priority: DEFAULT_PRIORITY,
        not_before: None,
        deadline: None,
        batch: None,
        traceparent: None,
        tracestate: None,
        extensions: Vec::new(),
        life: Life::default(),
    }
}
