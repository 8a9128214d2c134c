//! The conformance suite of executors: lists of cases, run over every kind with real processes and a real endpoint.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop")]

#[path = "executors/begun.rs"]
mod begun;
#[path = "executors/cases.rs"]
mod cases;
#[path = "executors/death.rs"]
mod death;
#[path = "executors/driven.rs"]
mod driven;
#[cfg(feature = "http")]
#[path = "executors/endpoint.rs"]
mod endpoint;
#[path = "executors/kinds.rs"]
mod kinds;
#[path = "executors/lines.rs"]
mod lines;
#[path = "executors/processes.rs"]
mod processes;
#[path = "executors/protocol.rs"]
mod protocol;
#[path = "executors/python.rs"]
mod python;
#[path = "executors/staying.rs"]
mod staying;

macro_rules! over {
    ($kind:ident: $($module:ident::$case:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            super::$module::$case(super::kinds::Kind::$kind).await;
        })*
    };
}

macro_rules! every_kind {
    ($($name:ident: $kind:ident),*) => {
        $(mod $name {
            over!($kind:
                cases::json_goes_in_and_comes_out_as_it_was
                cases::bytes_come_out_as_they_were
                cases::a_payload_of_a_mebibyte_passes_both_ways
                cases::a_failure_keeps_its_class_and_its_message
                cases::the_wish_when_to_retry_is_kept
                cases::a_cancelled_job_is_interrupted
                cases::an_output_over_the_limit_is_rejected_and_the_next_job_runs
                cases::a_deadline_that_passes_in_the_queue_expires_the_job
                cases::stop_waits_for_running_jobs_and_then_interrupts_them
                cases::no_more_jobs_run_than_there_are_places
            );
        })*
    };
}

macro_rules! kinds_of_processes {
    ($($name:ident: $kind:ident),*) => {
        $(mod $name {
            over!($kind:
                processes::log_lines_belong_to_the_job
                processes::printing_harms_nothing
                processes::a_timeout_ends_the_whole_family
                processes::a_cancelled_job_is_interrupted_with_its_whole_family
                processes::a_dropped_run_is_ended_with_its_whole_family
                processes::a_crash_names_its_signal
                processes::memory_over_the_limit_is_a_crash_that_says_so
                processes::processor_time_over_the_limit_is_a_crash_that_says_so
                processes::a_daemon_does_not_outlive_what_started_it
                processes::a_background_process_does_not_outlive_what_started_it
                processes::the_workers_environment_is_not_seen
                processes::it_runs_in_the_folder_of_the_config
            );
        })*
    };
}

macro_rules! kinds_that_stay {
    ($($name:ident: $kind:ident),*) => {
        $(mod $name {
            over!($kind:
                staying::warm_starts_every_process
                staying::a_process_is_used_again
                staying::a_process_is_replaced_after_its_share_of_jobs
                staying::a_process_that_has_grown_is_replaced
                staying::a_dead_process_is_replaced
                staying::jobs_in_a_host_that_crashes_are_not_charged_alone
                staying::a_neighbour_is_interrupted_when_the_host_is_killed
                staying::a_suspect_has_a_host_of_its_own
                staying::what_is_prepared_is_what_the_run_gets
                staying::the_clock_of_a_job_starts_when_the_one_before_it_has_ended
                staying::stop_lets_the_process_end_by_itself
            );
        })*
    };
}

every_kind!(a_program_per_job: EachJob, a_program_that_stays: Stays, a_python_function: Python);
#[cfg(feature = "http")]
every_kind!(an_endpoint: Http);
kinds_of_processes!(each_process: EachJob, a_process_that_stays: Stays, a_python_process: Python);
kinds_that_stay!(programs_that_stay: Stays, python_processes: Python);
