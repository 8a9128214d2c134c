//! Every metric by name, with what it means. Labels are names from the config or words from a fixed list, never ids.

/// One metric.
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $name:literal $help:literal)*) => {
        $(pub const $constant: Metric = Metric { name: concat!("windlass_", $name), help: $help };)*
        #[cfg(test)]
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO "build_info" "Always 1; the label tells the version."
    RELOADS "reloads_total" "Reloads of the config by result."
    DELIVERY_BYTES "delivery_bytes" "Bytes of deliveries in memory."
    DELIVERY_BYTES_LIMIT "delivery_bytes_limit" "The byte budget for deliveries in memory."

    // by pool, route and executor
    VERDICTS "verdicts_total" "Runs and deliveries by what was decided about them."
    FAILURES "failures_total" "Failed runs by failure class."
    DEAD_LETTERS "dead_letters_total" "Dead-lettered jobs by reason."
    RUN_SECONDS "run_seconds" "How long runs took."
    QUEUE_SECONDS "queue_seconds" "From publishing a job to the start of its run."
    RUNNING "running" "Jobs that run now."
    BILLED_SECONDS "billed_seconds" "The time of runs that a cloud charges for."
    COLD_START_SECONDS "cold_start_seconds" "How long cloud functions were started for runs that found none."
    FUNCTION_MEMORY_BYTES "function_memory_bytes" "The most memory that the last run of a cloud function has used."

    // by executor
    BREAKER "breaker" "State of an executor's breaker: 0 closed, 1 half-open, 2 open."
    BREAKER_OPENINGS "breaker_openings_total" "How often an executor's breaker has opened."
    EXECUTOR_LIMIT "executor_limit" "How many jobs may run at once on an executor that throttles or recovers; 0 is no limit."

    // by pool
    SLOTS "slots" "How many jobs may run at once."
    SLOTS_USED "slots_used" "How many slots are taken, settling included."
    WAITING "waiting" "What waits now, by the limit it waits for."
    WAITS "waits_total" "How often something had to wait, by the limit it waited for."
    FENCED_ACKS "fenced_acks_total" "Settlements that came after the lease was lost and changed nothing."
    LEASES_LOST "leases_lost_total" "Leases that could not be renewed in time."
    DISCARDED "discarded_total" "Jobs that were ended without a run or a dead letter, by what discarded them."
    REPLIES "replies_total" "Results sent to the senders of jobs that asked for them: confirmed, or unroutable."
    GIVEN_BACK "given_back_total" "Deliveries given back to their queue without an attempt."

    // by pool and queue, by pool and exit
    DELIVERIES "deliveries_total" "Deliveries taken from a source."
    SOURCE_ERRORS "source_errors_total" "Polls of a source that failed."
    PUBLISHED "published_total" "Messages that an exit has confirmed."
    PUBLISH_RETRIES "publish_retries_total" "Attempts to publish that failed and are tried again."

    // of all job batches
    BATCHES_OPENED "batches_opened_total" "Job batches of which a first job was seen."
    BATCHES_COMPLETED "batches_completed_total" "Job batches of which as many jobs have ended as they have."
    BATCH_JOBS "batch_jobs_total" "Jobs of batches by how they ended; one that ends again counts again."

    // by schedule
    SCHEDULE_FIRED "schedule_fired_total" "Due times of a schedule whose job was submitted."
    SCHEDULE_PASSED_OVER "schedule_passed_over_total" "Due times that were missed and not made up for."
    SCHEDULE_ERRORS "schedule_errors_total" "Due times that could not be seen to and are tried again."

    // by queue, looked up before a scrape
    QUEUE_JOBS "queue_jobs" "Jobs in a queue by state."
    QUEUE_ENDED "queue_ended_total" "Jobs of a queue that have ended."
    QUEUE_OLDEST_SECONDS "queue_oldest_seconds" "Age of the oldest job that waits; 0 when none does, NaN where it is not told."
    QUEUE_CONSUMERS "queue_consumers" "How many take from a queue of a broker: workers and other programs."
    QUEUE_LAG "queue_lag" "How far the group is behind the end of a partition, by offsets."
    QUEUE_PAUSED "queue_paused" "1 while a queue is paused."
}

/// Upper bounds of the buckets of [`RUN_SECONDS`]: from a native plugin to a batch job.
pub const RUN_BUCKETS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];
/// Upper bounds of the buckets of [`QUEUE_SECONDS`]: from at once to a day of backlog.
pub const QUEUE_BUCKETS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86_400.0];

/// The fields of a log line that tell what it is about, in the order in which they are shown after the others.
pub const LOG_FIELDS: [&str; 6] = ["pool", "queue", "route", "executor", "job", "attempt"];
