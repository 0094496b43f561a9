//! Tests of the store against real files, a real SQLite and a real PostgreSQL.
//!
//! `suite` says what any metastore must do, whichever it is; each runs it by a line of `conformance!`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bucket;
mod copy;
#[cfg(feature = "failpoints")]
mod crash;
mod folder;
mod postgres;
mod suite;
mod support;

/// Makes a test of each that is listed.
macro_rules! tests {
    ($metastore:ident, $open:path, [$($area:ident { $($test:ident),+ $(,)? })+]) => {
        mod $metastore {
            $($(
                #[tokio::test]
                async fn $test() {
                    let fixture = $open().await;
                    crate::suite::$area::$test(&fixture.store).await;
                }
            )+)+
        }
    };
}

/// Runs every test of the suite over the stores that `$open` makes.
macro_rules! conformance {
    ($metastore:ident, $open:path) => {
        tests!($metastore, $open, [
            artifacts {
                an_upload_becomes_an_artifact,
                an_upload_resumes_where_it_stopped,
                an_upload_survives_a_broken_stream,
                a_stalled_upload_is_not_one_that_was_left,
                a_wrong_digest_is_refused_and_discarded,
                a_wrong_offset_is_answered_with_the_right_one,
                an_upload_over_the_limit_is_refused_unread,
                more_bytes_than_announced_are_refused,
                one_request_at_a_time_uploads,
                a_caller_that_leaves_frees_the_upload,
                an_empty_artifact_is_an_artifact,
                an_artifact_whose_bytes_are_lost_is_received_again,
                tenants_do_not_see_each_others_artifacts,
            }
            audit {
                forgotten_changes_leave_a_record_that_verifies,
                a_record_that_is_not_whole_is_kept,
            }
            functions {
                the_first_revision_makes_the_function,
                a_revision_reads_back_as_written,
                a_revision_needs_artifacts_of_its_tenant,
                concurrent_deploys_get_distinct_numbers,
                numbers_survive_the_function,
                an_active_revision_cannot_be_deleted,
                tenants_do_not_see_each_others_functions,
                routes_name_the_active_revisions,
                changes_tell_the_whole_story,
            }
            records {
                changes_are_chained,
                keys_are_listed_in_the_order_of_their_making,
                names_are_in_the_order_of_their_bytes,
                tenants_come_and_go,
                usage_adds_up,
                a_functions_usage_is_its_own,
            }
            requests {
                a_request_is_done_once,
                a_request_that_failed_can_be_mended,
                a_change_on_a_condition_is_made_if_it_holds,
                long_lists_come_in_pages,
            }
            approvals {
                settings_stay_until_they_are_set_anew,
                an_activation_waits_for_a_second_person,
                a_key_that_one_has_made_is_oneself,
                a_key_and_its_successor_are_one_person,
                there_is_no_way_around_a_second_person,
            }
            traffic {
                a_split_needs_existing_revisions,
                rolling_back_twice_goes_back_twice,
                rolling_back_passes_over_deleted_revisions,
                the_same_split_changes_nothing,
                versions_only_grow,
            }
            secrets {
                the_last_value_is_what_a_handler_gets,
                secrets_belong_to_one_function_of_one_tenant,
                a_revision_needs_its_secrets,
                a_deleted_functions_secrets_are_gone,
                no_value_is_stored_or_recorded_in_clear,
                a_function_has_so_many_secrets_and_no_more,
            }
            garbage {
                what_a_revision_names_is_kept,
                what_nothing_names_is_collected_after_its_grace,
                a_shared_blob_goes_with_its_last_tenant,
                an_unfinished_upload_is_collected_after_its_grace,
                a_collected_artifact_can_be_uploaded_again,
                a_collection_leaves_uploads_beside_it_whole,
            }
        ]);
    };
}

conformance!(sqlite, crate::support::sqlite);
conformance!(over_postgres, crate::support::postgres);

// What knows of artifacts, with these in a bucket. One whose bytes are lost there has tests of its own.
tests!(sqlite_and_bucket, crate::support::bucket, [
    artifacts {
        an_upload_becomes_an_artifact,
        an_upload_resumes_where_it_stopped,
        an_upload_survives_a_broken_stream,
        a_stalled_upload_is_not_one_that_was_left,
        a_wrong_digest_is_refused_and_discarded,
        a_wrong_offset_is_answered_with_the_right_one,
        an_upload_over_the_limit_is_refused_unread,
        more_bytes_than_announced_are_refused,
        one_request_at_a_time_uploads,
        a_caller_that_leaves_frees_the_upload,
        an_empty_artifact_is_an_artifact,
        tenants_do_not_see_each_others_artifacts,
    }
    functions {
        a_revision_needs_artifacts_of_its_tenant,
        concurrent_deploys_get_distinct_numbers,
    }
    garbage {
        what_a_revision_names_is_kept,
        what_nothing_names_is_collected_after_its_grace,
        a_shared_blob_goes_with_its_last_tenant,
        an_unfinished_upload_is_collected_after_its_grace,
        a_collected_artifact_can_be_uploaded_again,
        a_collection_leaves_uploads_beside_it_whole,
    }
]);
