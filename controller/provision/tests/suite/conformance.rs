//! The checks that every manager passes, one function each, and `conforms!`, which makes them one manager's tests.
//!
//! A row names the kinds of checks that apply: `all` for every manager that keeps instances, `remote` for those that reach
//! their outside over a network, `noticed` for those whose outside tells beforehand what it takes away, `scattered` for those
//! that may lose sight of a pool.

pub(crate) mod crashes;
pub(crate) mod delivery;
pub(crate) mod failures;
pub(crate) mod interruptions;
pub(crate) mod mishaps;
pub(crate) mod orders;
pub(crate) mod regions;
pub(crate) mod scaling_down;
pub(crate) mod starts;

/// `conforms!(TheSubject: all, remote, noticed)`, in the file of the subject.
macro_rules! conforms {
    ($subject:ty: $($kind:ident),+) => {
        $($crate::conformance::conforms!(@$kind $subject);)+
    };
    (@all $subject:ty) => {
        mod conforms {
            use super::*;
            $crate::conformance::conforms!(@checks $subject;
                orders::groups_are_brought_to_their_numbers,
                orders::saying_it_twice_changes_nothing,
                orders::older_orders_are_refused,
                orders::what_an_order_leaves_out_ends,
                orders::unknown_groups_are_named,
                starts::what_starts_counts,
                starts::what_starts_can_be_given_up,
                failures::others_come_when_one_group_fails,
                failures::a_limit_is_named,
                interruptions::what_was_taken_away_is_replaced,
                interruptions::all_can_be_taken_away_at_once,
                scaling_down::ready_ones_stay_while_others_can_go,
                scaling_down::what_goes_is_drained,
                crashes::killed_anywhere_nothing_is_doubled_or_orphaned,
                crashes::a_call_that_is_dropped_does_no_harm,
                crashes::a_restart_forgets_nothing,
                crashes::what_ended_meanwhile_is_seen_after_a_restart,
                mishaps::whatever_happens_it_settles,
            );
        }
    };
    (@remote $subject:ty) => {
        mod conforms_over_a_network {
            use super::*;
            $crate::conformance::conforms!(@checks $subject;
                delivery::lost_requests_and_answers_double_nothing,
                delivery::a_request_that_arrives_twice_counts_once,
                delivery::a_late_request_is_overtaken,
                delivery::a_hanging_outside_does_no_harm,
                delivery::a_lie_is_made_good,
                delivery::an_old_view_undoes_nothing,
            );
        }
    };
    (@noticed $subject:ty) => {
        mod conforms_to_notices {
            use super::*;
            $crate::conformance::conforms!(@checks $subject; interruptions::a_notice_is_seen,);
        }
    };
    (@scattered $subject:ty) => {
        mod conforms_where_regions_are_lost {
            use super::*;
            $crate::conformance::conforms!(@checks $subject; regions::what_cannot_be_seen_stays,);
        }
    };
    (@checks $subject:ty; $($topic:ident::$check:ident,)+) => {
        $(#[tokio::test]
        async fn $check() -> anyhow::Result<()> {
            if !<$subject as $crate::subject::Subject>::is_there() {
                return Ok(());
            }
            $crate::conformance::$topic::$check::<$subject>().await
        })+
    };
}
pub(crate) use conforms;
