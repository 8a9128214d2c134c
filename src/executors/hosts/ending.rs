//! How a host ends, and what becomes of the jobs that were in it.

use crate::outcome::{Class, Failure, Interruption, Outcome};

/// Why a host takes no more jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It has done its share.
    Retired,
    Stopping,
    /// Killed because this job did not end in time.
    Killed {
        job: u64,
    },
    /// It cannot be talked to.
    Broken(String),
}

/// How a host ended.
#[derive(Debug)]
pub enum End {
    /// It was our decision, as [`Leaving`] tells.
    Ours,
    Crashed(String),
    /// A frame over the limit, and the job it answers where that can be read.
    TooLarge {
        job: Option<u64>,
        limit: String,
    },
}

/// What becomes of a job whose host ended before it answered.
#[must_use]
pub fn fate(id: u64, alone: bool, end: &End, leaving: &Leaving) -> Outcome {
    let crashed = |message: &str| {
        let mut failure = Failure::new(Class::Crashed, message);
        failure.shared_host = !alone;
        failure.into()
    };
    match (end, leaving) {
        (End::Crashed(message), _) | (End::Ours, Leaving::Broken(message)) => crashed(message),
        (End::TooLarge { job, limit }, _) if *job == Some(id) || (job.is_none() && alone) => {
            Failure::new(Class::Rejected, format!("its answer was larger than {limit}: raise output, or answer less")).into()
        }
        (End::TooLarge { job: None, limit }, _) => crashed(&format!("the plugin sent a frame larger than {limit}")),
        (End::Ours, Leaving::Stopping | Leaving::Retired) => Outcome::Interrupted(Interruption::Stopping),
        (End::TooLarge { .. }, _) | (End::Ours, Leaving::Killed { .. }) => Outcome::Interrupted(Interruption::Neighbour),
    }
}
