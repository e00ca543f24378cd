//! What every store has to do, as tests: an engine passes `suite!(open)` with its way to open a directory.
//!
//! They speak to the traits only. What is special to an engine (its files, its faults) is tested beside it.

mod claims;
mod fixture;
mod history;
mod lists;
mod random;

pub use claims::*;
pub use history::*;
pub use lists::*;
pub use random::*;

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
