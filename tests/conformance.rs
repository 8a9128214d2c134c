//! One suite over every queue kind, against the real thing: a promise tested in one kind's own test alone is no promise.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "conformance/cases.rs"]
mod cases;
#[path = "conformance/jobs.rs"]
mod jobs;
#[path = "conformance/kinds.rs"]
mod kinds;
#[path = "conformance/letters.rs"]
mod letters;
#[path = "conformance/operators.rs"]
mod operators;
#[path = "conformance/parking.rs"]
mod parking;
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "sqs"))]
#[path = "support/server.rs"]
mod server;
#[path = "conformance/state.rs"]
mod state;
mod support;

/// The kinds, a line each: how tokio is to run their tests, and what stands before these. A kind that needs a server is
/// ignored until `./test` has brought it.
macro_rules! of_every_kind {
    ($cases:tt) => {
        tests_of_a_kind! { memory "current_thread" [] $cases }
        tests_of_a_kind! { embedded "multi_thread" [] $cases }
        #[cfg(feature = "rabbitmq")]
        tests_of_a_kind! { rabbitmq "multi_thread" [#[ignore = "needs a server of RabbitMQ"]] $cases }
        #[cfg(feature = "rabbitmq")]
        tests_of_a_kind! { rabbitmq_single "multi_thread" [#[ignore = "needs a server of RabbitMQ"]] $cases }
        #[cfg(feature = "kafka")]
        tests_of_a_kind! { kafka "multi_thread" [#[ignore = "needs Kafka: ./test brings it"]] $cases }
        #[cfg(feature = "sqs")]
        tests_of_a_kind! { elasticmq "multi_thread" [#[ignore = "needs ElasticMQ: ./test brings it"]] $cases }
        #[cfg(feature = "sqs")]
        tests_of_a_kind! { elasticmq_fifo "multi_thread" [#[ignore = "needs ElasticMQ: ./test brings it"]] $cases }
        #[cfg(feature = "sqs")]
        tests_of_a_kind! { localstack "multi_thread" [#[ignore = "needs LocalStack: ./test brings it"]] $cases }
        #[cfg(feature = "sqs")]
        tests_of_a_kind! { localstack_fifo "multi_thread" [#[ignore = "needs LocalStack: ./test brings it"]] $cases }
    };
}

/// Makes a test of every case for a kind, in a module named after the kind.
macro_rules! tests_of_a_kind {
    ($kind:ident $flavor:literal $attributes:tt [$($module:ident :: $case:ident),* $(,)?]) => {
        mod $kind {
            $(test_of_a_kind! { $kind $flavor $attributes $module $case })*
        }
    };
}

macro_rules! test_of_a_kind {
    ($kind:ident $flavor:literal [$($attribute:tt)*] $module:ident $case:ident) => {
        #[tokio::test(flavor = $flavor)]
        $($attribute)*
        async fn $case() {
            crate::$module::$case(crate::kinds::$kind()).await;
        }
    };
}

macro_rules! suite {
    ($($case:tt)*) => { of_every_kind! { [$($case)*] } };
}

suite![
    cases::what_is_sent_is_delivered_to_the_byte,
    cases::an_acknowledged_message_is_never_seen_again,
    cases::a_dropped_receipt_gives_the_message_back_uncounted,
    cases::messages_given_back_keep_their_turn_in_whatever_order_they_come_back,
    cases::the_jobs_of_a_key_come_in_the_order_that_the_queue_says_it_keeps,
    cases::a_delayed_message_comes_within_a_second_of_its_time,
    cases::higher_priorities_come_first_and_equal_ones_in_order,
    cases::a_source_keeps_to_the_room_it_is_given,
    cases::a_message_of_64_mebibytes_or_the_largest_there_may_be_stops_nobody,
    cases::a_call_that_is_dropped_takes_nothing,
    cases::a_start_mark_is_seen_by_the_next_delivery,
    cases::thousands_in_flight_are_each_delivered_once,
    parking::parked_messages_wait_in_turn_whatever_their_priority,
    parking::what_is_parked_for_too_long_comes_back_into_its_queue,
    parking::a_parked_message_that_is_held_does_not_come_a_second_time,
    parking::a_parked_message_given_back_keeps_its_turn,
    parking::a_place_is_drained_when_nothing_is_left_of_it_but_what_somebody_holds,
    parking::what_leaves_a_parked_place_goes_where_its_queue_would_send_it,
    jobs::four_retries_in_a_row_over_overlapping_delays_carry_their_attempts,
    jobs::a_dead_letter_is_the_message_to_the_byte_with_one_more_header,
    jobs::a_stop_gives_back_what_runs_and_counts_nothing,
    jobs::a_job_of_three_leases_runs_once,
    jobs::a_marked_job_that_comes_again_is_charged_a_crash,
];

/// As `suite!`, for what kinds may be exempt from by their [`Capabilities`](windlass::ports::Capabilities), which must say so.
macro_rules! suite_of_those_that {
    ($capability:ident, but $exempt:tt, $($kind:ident $flavor:literal $attributes:tt)+ : $($case:tt)*) => {
        mod $capability {
            suite_of_those_that! { @each [$($case)*] $($kind $flavor $attributes)+ }
            exempt! { $capability $exempt }
        }
    };
    (@each $cases:tt $($kind:ident $flavor:literal $attributes:tt)+) => {
        $(tests_of_a_kind! { $kind $flavor $attributes $cases })+
    };
}

macro_rules! exempt {
    ($capability:ident [$($kind:ident)*]) => {
        mod exempt {
            $(#[test]
            fn $kind() {
                assert!(!crate::kinds::$kind().queue("q").capabilities().$capability, "then the cases are for it too");
            })*
        }
    };
}

suite_of_those_that![transfers, but [memory], embedded "multi_thread" []:
    cases::a_transfer_is_one_step];

suite_of_those_that![leases, but [], memory "current_thread" [] embedded "multi_thread" []:
    cases::a_lease_that_is_not_renewed_is_lost_and_a_late_ack_changes_nothing,
    cases::a_renewed_lease_lasts,
];

suite_of_those_that![operated, but [memory], embedded "multi_thread" []:
    operators::a_job_is_there_once_however_often_it_is_submitted,
    operators::of_jobs_submitted_together_all_are_kept_or_none,
    operators::jobs_are_found_by_state_and_by_what_is_known_of_them,
    operators::pages_follow_each_other_without_gap_or_repetition,
    operators::a_paused_queue_hands_out_nothing_until_it_is_resumed,
    operators::a_waiting_job_is_cancelled_into_the_dead_letters_or_for_good,
    operators::what_runs_has_ended_or_is_unknown_is_not_cancelled,
    operators::a_delayed_job_runs_now_when_asked,
    operators::a_replayed_dead_letter_comes_again_as_it_was_with_a_new_life,
    operators::a_discarded_dead_letter_is_gone_for_good,
    operators::whoever_waits_for_the_end_of_a_job_is_told,
];

/// Of the kinds whose dead letters operators see.
macro_rules! letters_suite {
    ($($case:tt)*) => {
        mod dead_letters {
            tests_of_a_kind! { embedded "multi_thread" [] [$($case)*] }
            #[cfg(feature = "rabbitmq")]
            tests_of_a_kind! { rabbitmq "multi_thread" [#[ignore = "needs a server of RabbitMQ"]] [$($case)*] }
            #[cfg(feature = "kafka")]
            tests_of_a_kind! { kafka "multi_thread" [#[ignore = "needs Kafka: ./test brings it"]] [$($case)*] }
        }
    };
}

letters_suite![
    letters::dead_letters_are_looked_at_25_times_in_their_order_and_stay_as_they_are,
    letters::a_replayed_dead_letter_is_run_again_once_and_is_none_any_more,
    letters::a_discarded_dead_letter_is_not_seen_again,
];

/// As `suite!`, for the state stores.
macro_rules! state_suite {
    ($($case:ident),* $(,)?) => {
        mod state_in_memory {
            $(#[tokio::test] async fn $case() { super::state::$case(&super::state::memory()).await; })*
        }
        #[cfg(feature = "kafka")]
        mod state_on_kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs Kafka: ./test brings it"]
            async fn $case() { super::state::$case(&crate::kinds::kafka_state().into()).await; })*
        }
        mod state_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::state::$case(&super::state::embedded()).await; })*
        }
    };
}

state_suite![
    a_value_is_kept_as_it_was_put_and_gone_when_removed,
    a_change_is_made_only_while_its_condition_holds,
    a_key_that_came_back_is_another_version,
    changes_are_made_all_or_none,
    of_many_who_change_at_once_each_is_counted_once,
    an_expired_value_is_absent,
    a_scan_goes_through_a_prefix_in_pages,
    what_is_too_large_is_refused_with_a_sentence,
];
