//! Submit jobs to a Windlass worker and await their results.
//!
//! ```no_run
//! use std::time::Duration;
//! use windlass_client::{Client, NewJob};
//!
//! # async fn example() -> Result<(), windlass_client::Error> {
//! let client = Client::new("http://127.0.0.1:7780")?;
//! let job = NewJob::new("image.resize").json(serde_json::json!({ "file": "cat.png", "width": 200 }));
//! let ended = client.submit_and_wait(&job, Duration::from_secs(60)).await?;
//! println!("{}", ended.output.map_or("nothing".to_owned(), |output| output.to_string()));
//! # Ok(())
//! # }
//! ```
//!
//! A job's id is made here, before the first attempt, so that a submit that is repeated adds nothing: keep the [`NewJob`]
//! and submit it again after [`Error::Unknown`].

mod batch;
mod client;
mod error;
mod job;

pub use batch::Batch;
pub use client::Client;
pub use error::Error;
pub use job::{Ended, Failure, Job, NewJob, State, Submitted};
