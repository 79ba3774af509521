//! The API from outside: over TLS on loopback, on SQLite and on PostgreSQL.

mod support;

mod scenarios {
    pub(super) mod artefacts;
    pub(super) mod before;
    pub(super) mod bodies;
    pub(super) mod deployments;
    pub(super) mod escrow;
    pub(super) mod fleet;
    pub(super) mod lifecycle;
    pub(super) mod people;
    pub(super) mod permits;
    pub(super) mod token;
    pub(super) mod updates;
}

use anyhow::{Context as _, Result};
use scenarios::{
    artefacts, before, bodies, deployments, escrow, fleet, lifecycle, people, permits, token, updates,
};
use support::postgres::Postgres;
use support::{Site, runtime, sqlite};

/// Each scenario, once: on SQLite a test of its own, on PostgreSQL all on one cluster, each in its own database.
macro_rules! scenarios {
    ($($module:ident::$name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() -> Result<()> {
                let folder = tempfile::tempdir()?;
                runtime()?.block_on(async {
                    let site = Site::start(&sqlite(folder.path())).await?;
                    $module::$name(&site).await?;
                    site.running.stop().await;
                    Ok(())
                })
            }
        )*

        #[test]
        fn everything_holds_on_postgresql() -> Result<()> {
            let cluster = Postgres::start(false)?;
            runtime()?.block_on(async {
                $(
                    let site = Site::start(&cluster.database()?).await?;
                    $module::$name(&site).await.context(stringify!($name))?;
                    site.running.stop().await;
                )*
                Ok(())
            })
        }
    };
}

scenarios!(
    people::role_of_each_caller_decides_on_each_path,
    people::code_is_good_once_and_for_a_day,
    people::refresh_token_used_twice_ends_the_session,
    people::last_administrator_stays,
    people::name_known_elsewhere_cannot_be_invited,
    people::provider_signs_in_who_was_invited_and_no_operator,
    people::machine_is_known_by_its_certificate,
    fleet::change_is_in_the_audit_log_with_before_and_after,
    fleet::group_with_devices_stays,
    lifecycle::device_goes_from_enrolment_to_reports,
    lifecycle::tpm_that_counts_backwards_is_refused_until_somebody_reinstates_it,
    lifecycle::claim_needs_the_proof_of_this_device,
    lifecycle::transfer_takes_the_device_and_its_certificates_away,
    lifecycle::nonce_is_used_once_and_in_time,
    lifecycle::evidence_that_fails_is_shown_to_the_owner,
    lifecycle::revoked_certificate_is_on_the_list_and_refused,
    escrow::recovery_key_is_asked_for_until_an_administrator_has_one,
    escrow::recovery_key_is_sealed_and_the_present_owner_s,
    permits::permit_reaches_its_device_and_no_other_until_it_is_ended,
    permits::permit_is_issued_by_contributors_for_devices_of_theirs,
    artefacts::artefact_is_put_by_its_digest_and_had_by_range,
    updates::repository_is_served_as_it_was_signed_and_refuses_what_devices_would,
    updates::device_is_told_of_its_groups_deployment_and_its_progress_is_shown,
    updates::device_that_waits_hears_of_a_deployment_and_of_whoever_wants_it_to_ask,
    updates::order_is_told_to_the_device_until_it_answers_and_to_nobody_else,
    updates::deployment_goes_in_waves_stops_by_itself_and_takes_nothing_from_who_runs_it,
    updates::group_follows_a_feed_until_it_is_pinned,
    updates::metrics_say_when_each_role_expires,
    deployments::wave_goes_on_without_devices_that_were_revoked_moved_or_given_up,
    deployments::device_that_runs_something_newer_has_nothing_to_do,
    deployments::wave_that_nobody_completes_is_followed_by_the_next_at_somebodys_word,
    deployments::app_that_is_to_go_is_waited_for_until_it_is_gone,
    deployments::deployment_of_an_older_service_is_counted_anew,
    deployments::deployments_are_counted_anew_though_the_database_fails_at_first,
    deployments::removal_of_an_older_service_is_waited_for,
    deployments::oldest_deployment_makes_room_unless_devices_are_answered_by_it,
    before::inherited_release_that_went_back_holds_nothing_up_and_is_shown,
    before::release_that_is_deployed_again_has_failed_where_it_went_back,
    before::verdict_of_a_release_that_was_superseded_in_its_trial_is_not_lost,
    before::app_that_went_back_keeps_off_the_apps_that_come_with_it,
    before::what_a_device_said_follows_it_to_another_group_and_to_no_other_catalog,
    bodies::body_that_is_wrong_is_a_problem_with_reasons,
    bodies::document_describes_every_path,
    bodies::connection_ends_in_order_whatever_was_said_on_it,
    bodies::refused_before_its_body_came_is_answered_and_the_connection_goes_on,
    bodies::backup_restored_is_the_same_state,
);

#[test]
fn authority_in_a_token_does_what_one_in_a_file_does() -> Result<()> {
    token::with_token(token::Kind::Software, "authority_in_a_token_does_what_one_in_a_file_does")
}

#[test]
fn authority_in_a_tpm_does_what_one_in_a_file_does() -> Result<()> {
    token::with_token(token::Kind::Tpm, "authority_in_a_tpm_does_what_one_in_a_file_does")
}
