//! What every store has to do, as tests: an engine passes `suite!(open)` with its way to open a directory.
//!
//! They speak to the traits only. What is special to an engine (its files, its faults) is tested beside it.

mod claims;
mod fixture;
mod history;
mod lists;
mod random;
mod resources;
mod retention;

pub use claims::*;
pub use history::*;
pub use lists::*;
pub use random::*;
pub use resources::*;
pub use retention::*;

use std::path::Path;

use super::{Store, StoreError};

/// Opens the store in a directory.
pub type Open = fn(&Path) -> Result<Box<dyn Store>, StoreError>;

/// All tests of the suite, for one engine.
macro_rules! suite {
    ($open:expr) => {
        $crate::store::conformance::suite! { $open =>
            a_new_store_is_empty_and_counts_its_incarnations
            each_state_is_recovered_as_it_was
            what_was_committed_survives_a_crash_and_what_was_not_does_not
            a_commit_that_fails_leaves_nothing_behind
            nothing_is_written_without_a_claim
            a_second_owner_is_refused_while_the_first_one_lives
            a_key_belongs_to_one_task_of_its_tenant
            what_operators_want_survives
            tasks_are_recovered_in_the_order_of_their_acceptance
            a_spec_comes_back_as_it_went
            a_finished_task_is_kept_with_its_attempts_and_output
            a_recorded_result_is_told_from_a_superseded_one
            an_attempt_ends_once_and_by_its_whole_token
            a_task_that_is_over_stays_so
            redriven_tasks_are_linked
            events_are_read_from_a_position_on
            events_of_the_fleet_are_filtered
            pruning_removes_what_is_old_and_over_and_nothing_else
            pruning_is_bounded_and_says_from_where_on_history_is_whole
            lists_are_filtered
            lists_come_in_pages_newest_first
            live_states_that_the_store_cannot_tell_apart_stand_for_each_other
            any_history_is_recovered_as_it_was
            what_an_attempt_used_is_kept
            what_was_declared_last_is_in_force
            a_name_that_was_taken_back_may_begin_anew
            what_budgets_have_spent_survives
            records_are_of_the_transaction_that_they_come_with
            usage_is_read_by_time_and_step
            a_stretch_that_was_measured_in_two_parts_is_one
            costs_are_added_up
            scaling_events_are_read_in_pages_newest_first
            what_was_throttled_and_moved_is_one_history
            recommendations_are_read_by_their_last_state
            samples_are_thinned_out_and_none_is_lost
            costs_are_thinned_out_and_none_is_lost
            thinning_out_takes_bounded_steps_and_goes_on
            history_goes_after_its_time
            what_is_in_force_is_never_past_its_time
            what_was_taken_back_stays_so_where_the_clock_went_back
        }
    };
    ($open:expr => $($test:ident)+) => {
        $(
            #[test]
            fn $test() {
                $crate::store::conformance::$test($open);
            }
        )+
    };
}
pub(crate) use suite;
