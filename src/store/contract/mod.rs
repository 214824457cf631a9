//! What every backend owes to its callers: one suite, run on each of them. Facts are in one file per
//! noun.

mod batches;
mod channels;
mod consumers;
mod limits;
mod locks;
mod logs;
mod monitoring;
mod permits;
mod presences;
mod responses;
mod scans;
mod sessions;
mod tokens;
mod values;

use std::sync::OnceLock;
use std::time::Duration;

use support::{RedisCluster, RedisServer, Sentinels};

use super::keys::Fingerprint;
use super::{Store, StoreBuilder};

/// Every fact below, on every backend. A new backend is one line here.
macro_rules! backends {
    ($($backend:ident => $open:expr;)*) => { $( backends!(@ $backend, $open); )* };
    (@ $backend:ident, $open:expr) => {
        mod $backend {
            facts! { limits, $open =>
                a_limit_admits_what_its_quota_says
                concurrent_callers_are_admitted_exactly
                subjects_and_names_are_counted_apart
                algorithms_of_one_name_are_counted_apart
                a_refusal_charges_nothing
                a_look_charges_nothing
                what_was_charged_can_be_given_back
                what_was_charged_in_the_window_before_can_be_given_back
                what_is_given_back_keeps_nothing_else_alive
                what_is_charged_later_may_use_up_a_limit
                several_limits_are_charged_together_or_not_at_all
                every_limit_that_refuses_is_named
                a_shadow_refuses_nobody_and_is_charged_for_itself
                a_limit_is_shut_for_a_time
                what_was_counted_can_be_forgotten
                a_lockout_grows_and_cannot_be_pushed_out
                a_changed_quota_goes_on_with_what_was_counted
                a_shortened_limit_opens_when_it_says
                a_look_by_other_numbers_changes_nothing
            }
            facts! { sessions, $open =>
                a_session_is_there_until_it_is_ended
                a_session_is_kept_by_being_loaded
                a_session_that_is_too_long_is_none
                a_save_from_another_version_is_a_conflict
                a_session_that_ended_stays_ended
                rotation_ends_the_old_id
                a_session_that_is_gone_cannot_rotate
            }
            facts! { tokens, $open =>
                a_revoked_token_is_remembered_for_its_time
                a_subjects_revocation_is_never_taken_back
            }
            facts! { responses, $open =>
                a_stored_response_is_there_until_it_expires
                a_purge_drops_what_carries_the_tag_and_nothing_else
                what_was_made_before_a_purge_is_not_stored_after
                a_purged_uri_is_gone
                purges_by_the_thousand_leave_nothing
            }
            facts! { values, $open =>
                a_value_is_there_until_it_expires
                values_are_stored_and_deleted_together_each_by_itself
                a_value_is_stored_once_where_there_was_none
                one_caller_takes_a_value
                a_value_is_deleted_only_while_it_is_the_same
                a_time_to_live_can_be_changed_and_asked_for
                a_counter_counts_what_every_caller_adds
                a_counter_ends_after_its_time_however_often_it_is_added_to
                what_is_no_counter_is_left_alone
            }
            facts! { channels, $open =>
                a_message_reaches_all_who_listen_to_its_channel
                messages_of_one_publisher_arrive_in_order
                what_was_published_before_is_not_heard
                who_is_slow_gets_a_gap_and_holds_up_nobody
                a_channel_can_be_left_and_listened_to_again
                listening_ends_with_the_store
                listening_ends_when_it_is_ended
            }
            facts! { locks, $open =>
                a_lock_has_one_holder_until_it_is_released
                a_lock_is_held_for_its_time_from_the_last_renewal_on
                only_its_holder_renews_or_releases_a_lock
                fencing_numbers_rise_from_holder_to_holder
                of_concurrent_callers_one_gets_the_lock
            }
            facts! { permits, $open =>
                as_many_permits_are_held_as_there_are
                a_permit_is_free_after_its_lease
                renewed_permits_are_held_each_by_itself
                a_changed_number_of_permits_takes_none_away
                of_concurrent_claims_as_many_are_held_as_there_are
            }
            facts! { monitoring, $open =>
                a_store_tells_how_it_is_doing
                settings_are_asked_for_only_when_wanted
            }
            facts! { batches, $open =>
                a_batch_answers_each_act_in_its_place
                nobody_sees_a_part_of_a_batch
                an_addition_to_no_counter_is_an_error_in_its_place
            }
            facts! { logs, $open =>
                a_log_is_read_in_the_order_it_was_written_in
                a_log_drops_its_oldest_entries
                a_log_without_bounds_is_read_whole
                a_log_is_kept_by_being_written_to
                concurrent_writers_lose_no_entry
            }
            facts! { consumers, $open =>
                each_group_gets_every_entry_once
                what_is_not_done_in_time_is_handed_out_again
                what_is_due_is_found_behind_what_is_not
                a_worker_can_go_on_behind_an_entry
                what_the_log_has_dropped_is_not_handed_out_again
                concurrent_workers_share_the_entries
                a_log_is_not_made_by_being_consumed
            }
            facts! { presences, $open =>
                somebody_is_present_for_a_while
                the_last_touch_counts
            }
            facts! { scans, $open =>
                a_scan_finds_what_begins_with_the_prefix_and_nothing_else
                a_scan_finds_all_of_thousands
            }
        }
    };
}

macro_rules! facts {
    ($noun:ident, $open:expr => $($fact:ident)*) => {
        mod $noun {
            $(
                #[tokio::test]
                async fn $fact() {
                    let store = $open(stringify!($fact)).await;
                    crate::store::contract::$noun::$fact(store).await;
                }
            )*
        }
    };
}

backends! {
    memory => crate::store::contract::memory;
    redis => crate::store::contract::redis;
    redis_by_resp3 => crate::store::contract::redis_by_resp3;
    redis_by_socket => crate::store::contract::redis_by_socket;
    redis_by_one_connection => crate::store::contract::redis_by_one_connection;
    redis_by_sentinel => crate::store::contract::redis_by_sentinel;
    redis_cluster => crate::store::contract::redis_cluster;
}

fn builder(fact: &str) -> StoreBuilder {
    Store::builder().prefix(&fact[..fact.len().min(64)]).deadline(Duration::from_secs(5))
}

async fn memory(fact: &str) -> Store {
    builder(fact).memory()
}

async fn redis(fact: &str) -> Store {
    builder(fact).connect(&RedisServer::shared().url()).await.unwrap()
}

async fn redis_by_resp3(fact: &str) -> Store {
    let url = format!("{}?protocol=resp3", RedisServer::shared().url());
    builder(&format!("resp3:{fact}")).connect(&url).await.unwrap()
}

async fn redis_by_socket(fact: &str) -> Store {
    builder(&format!("socket:{fact}")).connect(&RedisServer::shared().socket_url()).await.unwrap()
}

async fn redis_by_one_connection(fact: &str) -> Store {
    let url = RedisServer::shared().url();
    builder(&format!("one:{fact}")).connections(1).connect(&url).await.unwrap()
}

async fn redis_by_sentinel(fact: &str) -> Store {
    static SENTINELS: OnceLock<Sentinels> = OnceLock::new();
    builder(fact).connect(&SENTINELS.get_or_init(Sentinels::start).url()).await.unwrap()
}

async fn redis_cluster(fact: &str) -> Store {
    builder(fact).connect(&RedisCluster::shared().url()).await.unwrap()
}

fn named(name: &str) -> Fingerprint {
    Fingerprint::of(&[name.as_bytes()])
}
