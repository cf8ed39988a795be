use std::collections::BTreeMap;

use dask_operator_api::PluginStatus;
use dask_operator_runtime::{FailureReason, LoadErrorReason};
use dask_operator_sources::SourceReason;
use rstest::rstest;
use serde_json::{Value, json};

use super::trials::TRIALS;
use super::*;
use crate::plugins::entry::{Entry, Scope};
use crate::plugins::{status, testing};

fn plugin(status: &Value) -> PluginState {
    let object = json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskPlugin",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 2},
        "spec": {"source": {"file": {"path": "/p.wasm"}}},
        "status": status,
    });
    PluginState::new(testing::of_namespace(object))
}

/// A version that can be active: bytes with this digest, requested in this generation.
fn good(digest: &str, generation: i64) -> LoadedPlugin {
    let mut requested_by = plugin(&json!({})).resource;
    requested_by.generation = generation;
    LoadedPlugin {
        entry: Entry {
            id: requested_by.id.clone(),
            scope: Scope::default(),
            order: 0,
            logic: BTreeMap::new(),
            policy: None,
            loaded: None,
        },
        name: "p".to_owned(),
        version: "1".to_owned(),
        digest: digest.to_owned(),
        image_digest: None,
        interfaces: Vec::new(),
        requested_by,
    }
}

fn outcome(good: Option<LoadedPlugin>, failure: Option<LoadFailure>) -> LoadOutcome {
    let resource = plugin(&json!({})).resource;
    LoadOutcome {
        id: resource.id,
        uid: resource.uid,
        generation: resource.generation,
        before: None,
        loaded: good,
        failure,
    }
}

/// Reason and message of the failure.
fn said(state: &PluginState) -> Option<(LoadReason, &str)> {
    let failure = state.failure()?;
    Some((failure.reason, failure.message.as_str()))
}

/// Reason of the failure.
fn reason(state: &PluginState) -> Option<LoadReason> {
    state.failure().map(|failure| failure.reason)
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_periodically() {
    let mut state = plugin(&json!({}));
    for good in [Some(good("sha256:1", 2)), None, None] {
        assert!(state.begin().is_some());
        state.load_finished(outcome(good, None));
        assert_eq!(state.due(), Some(Instant::now() + Duration::from_secs(10)));
        assert!(state.begin().is_some_and(|request| request.recheck_source));
        state.running = false;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_source_does_not_clear_a_failure_in_operation() {
    let mut state = plugin(&json!({}));
    state.load_finished(outcome(Some(good("sha256:1", 2)), None));
    assert!(!state.roll_back("it traps", false));
    state.load_finished(outcome(None, None));
    assert_eq!(reason(&state), Some(LoadReason::FailsInOperation));
    assert_eq!(state.due(), Some(Instant::now() + Duration::from_secs(10)));
    // A source that can't be read is reported while that lasts.
    state.load_finished(outcome(
        None,
        Some(LoadFailure::new(LoadReason::Unreadable, "no such file")),
    ));
    assert_eq!(reason(&state), Some(LoadReason::Unreadable));
    state.load_finished(outcome(None, None));
    assert_eq!(reason(&state), Some(LoadReason::FailsInOperation));
    assert!(state.mark_recovered() && !state.mark_recovered() && state.failure().is_none());
    // Another component starts without failures.
    state.roll_back("it traps", false);
    state.load_finished(outcome(Some(good("sha256:2", 2)), None));
    assert_eq!(reason(&state), None);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_reported_until_the_source_changes() {
    let again = || Some(LoadFailure::new(LoadReason::RolledBack, "push another one"));
    let mut state = plugin(&json!({}));
    state.load_finished(outcome(Some(good("sha256:1", 1)), None));
    state.load_finished(outcome(Some(good("sha256:2", 2)), None));
    state.load_finished(outcome(
        None,
        Some(LoadFailure::new(LoadReason::Unreadable, "no such file")),
    ));
    assert!(state.roll_back("it traps", true));
    assert_eq!(reason(&state), Some(LoadReason::RolledBack));
    let why = "p 1 (2) failed again and again and was taken back for p 1 (1): it traps";
    state.load_finished(outcome(None, again()));
    assert_eq!(said(&state), Some((LoadReason::RolledBack, why)));
    state.load_finished(outcome(
        None,
        Some(LoadFailure::new(LoadReason::Unreadable, "no such file")),
    ));
    assert_eq!(said(&state), Some((LoadReason::Unreadable, "no such file")));
    state.load_finished(outcome(None, again()));
    assert_eq!(said(&state), Some((LoadReason::RolledBack, why)));
    // The active version now fails too, which matters more than the one that is not active.
    assert!(!state.roll_back("it traps too", true));
    state.load_finished(outcome(None, again()));
    assert_eq!(reason(&state), Some(LoadReason::FailsInOperation));
    assert!(state.mark_recovered());
    assert_eq!(said(&state), Some((LoadReason::RolledBack, "push another one")));
    // The source holds the active version again.
    state.load_finished(outcome(None, None));
    assert_eq!(said(&state), None);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_still_reported_after_a_restart() {
    let status = |reason: LoadReason, generation: i64| {
        json!({
            "observedGeneration": generation, "digest": "sha256:1", "error": "it trapped",
            "lastGood": {"generation": 1, "digest": "sha256:1", "rolledBack": "sha256:2"},
            "conditions": [{
                "type": "Ready", "status": "False", "reason": reason.as_str(), "message": "it trapped",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        })
    };
    for (reason, generation, expected) in [
        (LoadReason::RolledBack, 2, "it trapped"),
        (LoadReason::Unreadable, 2, "push another one"),
        // The resource was changed meanwhile.
        (LoadReason::RolledBack, 1, "push another one"),
    ] {
        let mut state = plugin(&status(reason, generation));
        assert!(state.is_loading() && state.failure().is_none(), "{reason}");
        let failure = LoadFailure::new(LoadReason::RolledBack, "push another one");
        state.load_finished(outcome(Some(good("sha256:1", 1)), Some(failure)));
        assert_eq!(said(&state), Some((LoadReason::RolledBack, expected)), "{reason}");
    }
}

/// Status in which the leader reports that it activated one digest and rolled another one back.
fn led(digest: &str, generation: i64, rolled_back: Option<&str>) -> PluginStatus {
    PluginStatus {
        observed_generation: Some(2),
        error: rolled_back.map(|_| "it failed and was taken back".to_owned()),
        digest: Some(digest.to_owned()),
        last_good: Some(LastGood {
            generation,
            digest: digest.to_owned(),
            rolled_back: rolled_back.map(str::to_owned),
            ..LastGood::default()
        }),
        ..PluginStatus::default()
    }
}

fn digest(state: &PluginState) -> Option<&str> {
    state.active.as_ref().map(|good| good.digest.as_str())
}

#[tokio::test(start_paused = true)]
async fn follows_a_rollback_of_the_leader() {
    let mut state = plugin(&json!({}));
    state.load_finished(outcome(Some(good("sha256:1", 1)), None));
    state.load_finished(outcome(Some(good("sha256:2", 2)), None));
    state.resource.status = led("sha256:2", 2, None);
    assert_eq!(state.follow(), FollowerAction::Nothing);
    state.resource.status = led("sha256:1", 1, Some("sha256:2"));
    // A status about an older generation is ignored.
    state.resource.status.observed_generation = Some(1);
    assert_eq!(state.follow(), FollowerAction::Nothing);
    state.resource.status.observed_generation = Some(2);
    assert_eq!(state.follow(), FollowerAction::Exchanged);
    assert_eq!(digest(&state), Some("sha256:1"));
    assert_eq!(
        said(&state),
        Some((LoadReason::RolledBack, "it failed and was taken back"))
    );
    assert_eq!(state.rolled_back.as_deref(), Some("sha256:2"));
    assert_eq!(state.follow(), FollowerAction::Nothing, "the rollback is done");
}

#[tokio::test(start_paused = true)]
async fn follows_a_rollback_by_loading_the_version_before() {
    let mut state = plugin(&json!({"digest": "sha256:1", "interfaces": ["policy"]}));
    state.load_finished(outcome(Some(good("sha256:2", 2)), None));
    state.resource.status = led("sha256:1", 1, Some("sha256:2"));
    assert_eq!(state.follow(), FollowerAction::LoadPrevious);
    assert_eq!(digest(&state), None);
    assert!(state.entry().is_some(), "its scope is blocked meanwhile");
    assert!(state.begin().is_some_and(|request| request.active.is_none()));
    let again = LoadFailure::new(LoadReason::RolledBack, "not again");
    state.load_finished(outcome(Some(good("sha256:1", 1)), Some(again)));
    assert_eq!(state.follow(), FollowerAction::Nothing);
    assert_eq!(digest(&state), Some("sha256:1"));
    assert_eq!(
        said(&state),
        Some((LoadReason::RolledBack, "it failed and was taken back"))
    );
}

/// A running attempt has compared the source with a version that is not active any more.
#[tokio::test(start_paused = true)]
async fn a_rollback_makes_a_running_attempt_outdated() {
    let ended = |attempt: &LoadRequest, good: Option<LoadedPlugin>| LoadOutcome {
        before: attempt.active.as_ref().map(LoadedPlugin::identity),
        ..outcome(good, None)
    };
    // With the version before, and without.
    for before in [Some(good("sha256:1", 1)), None] {
        let mut state = plugin(&json!({"digest": "sha256:1"}));
        state.active = before;
        state.load_finished(outcome(Some(good("sha256:2", 2)), None));
        let attempt = state.begin().unwrap_or_else(|| panic!("no attempt starts"));
        state.resource.status = led("sha256:1", 1, Some("sha256:2"));
        assert_ne!(state.follow(), FollowerAction::Nothing);
        assert!(state.begin().is_none(), "one is running");
        assert!(state.is_outdated(&ended(&attempt, Some(good("sha256:2", 2)))));
        state.running = true;
        assert!(!state.is_outdated(&ended(&attempt, Some(good("sha256:3", 2)))));
        assert!(state.is_outdated(&ended(&attempt, None)));
        let again = state.begin().unwrap_or_else(|| panic!("no attempt starts"));
        assert_eq!(again.rolled_back.as_deref(), Some("sha256:2"));
        assert!(!state.is_outdated(&ended(&again, None)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_over_the_status_of_a_changed_resource() {
    let change = |status: PluginStatus| Resource {
        generation: 3,
        status,
        ..plugin(&json!({})).resource
    };
    let about = |generation: i64| PluginStatus {
        observed_generation: Some(generation),
        ..led("sha256:1", 1, Some("sha256:2"))
    };
    for (status, leads, expected) in [
        (about(3), false, Some("sha256:2")),
        (about(2), false, None),
        (about(2), true, None),
        // The former leader has written it.
        (about(3), true, Some("sha256:2")),
    ] {
        let mut state = plugin(&json!({"name": "own"}));
        state.load_finished(outcome(Some(good("sha256:1", 1)), None));
        state.load_finished(outcome(Some(good("sha256:2", 2)), None));
        let is_own = leads && status.observed_generation == Some(2);
        state.spec_changed(change(status), leads);
        assert_eq!(state.resource.status.name.is_some(), is_own);
        assert_eq!(state.rolled_back.as_deref(), expected, "{leads}");
        let is_rolled_back = state.follow() == FollowerAction::Exchanged;
        assert_eq!(is_rolled_back, expected.is_some(), "{leads}");
        let attempt = state.begin().unwrap_or_else(|| panic!("no attempt starts"));
        assert_eq!(attempt.rolled_back.as_deref(), expected, "{leads}");
    }
}

#[tokio::test(start_paused = true)]
async fn follows_the_leader_by_fetching_the_source() {
    let mut state = plugin(&json!({}));
    state.load_finished(outcome(Some(good("sha256:1", 2)), None));
    state.resource.status = led("sha256:2", 2, None);
    assert_eq!(state.follow(), FollowerAction::FetchSource);
    assert_eq!(state.follow_rollback(), FollowerAction::Nothing);
    assert_eq!(
        digest(&state),
        Some("sha256:1"),
        "active until its successor is ready"
    );
    assert!(state.begin().is_some_and(|request| request.recheck_source));
}

/// A plugin of the cluster with these fields and without a status.
fn of_cluster(fields: &Value) -> PluginState {
    let mut object = json!({"metadata": {"name": "p"}, "spec": {"source": {"file": {"path": "/p.wasm"}}}});
    for (name, value) in fields.as_object().into_iter().flatten() {
        object["spec"][name] = value.clone();
    }
    PluginState::new(testing::of_cluster(object))
}

#[rstest]
#[case::usual(json!({}), true)]
#[case::policy(json!({"interfaces": ["worker-group", "policy"]}), true)]
#[case::logic(json!({"interfaces": ["worker-group"]}), false)]
#[case::only_monitors(json!({"mode": "monitor"}), false)]
#[tokio::test(start_paused = true)]
async fn an_untried_policy_of_the_cluster_blocks_its_scope(#[case] fields: Value, #[case] expected: bool) {
    let policy = |state: &PluginState| state.entry().and_then(|entry| entry.policy);
    // A plugin that is created later blocks nothing.
    assert!(policy(&of_cluster(&fields)).is_none() && !of_cluster(&fields).is_in_catalog());
    let tenants = plugin(&json!({})).at_start();
    assert!(policy(&tenants).is_none());
    for good in [None, Some(good("sha256:1", 0))] {
        let mut state = of_cluster(&fields).at_start();
        assert!(state.begin().is_some());
        let held = policy(&state);
        assert_eq!((held.is_some(), state.is_in_catalog()), (expected, expected));
        assert!(held.is_none_or(|held| held.is_err()));
        let failure = good
            .is_none()
            .then(|| LoadFailure::new(LoadErrorReason::Unfit, "it traps"));
        let is_good = good.is_some();
        assert_eq!(state.load_finished(outcome(good, failure)), is_good || expected);
        assert_eq!(
            (policy(&state).is_some(), state.is_in_catalog()),
            (false, is_good)
        );
    }
}

/// After a restore without statuses, the registry may become available later than the operator.
#[tokio::test(start_paused = true)]
async fn an_unreachable_source_keeps_a_policy_of_the_cluster_blocking() {
    let why = |state: &PluginState| {
        let policy = state.entry().and_then(|entry| entry.policy)?;
        policy.err().map(|error| error.message)
    };
    let unreachable = || LoadFailure::new(SourceReason::RegistryUnreachable, "no answer").of_source();
    let status = |state: &PluginState| {
        status::desired(&state.resource, None, None, state.failure(), state.is_unknown())
    };
    let ready = |state: &PluginState| status(state).conditions[0].message.clone().unwrap_or_default();
    let blocks_after_a_restart = |state: &PluginState| {
        let mut anew = of_cluster(&json!({}));
        anew.resource.status = status(state);
        anew.at_start().blocks_untried()
    };
    let mut state = of_cluster(&json!({})).at_start();
    for (failure, is_news) in [
        (unreachable(), true),
        (unreachable(), false),
        (LoadFailure::new(FailureReason::NoTimeLeft, "it is late"), true),
        (
            LoadFailure::new(LoadReason::NamespacesUnknown, "it may not list namespaces"),
            true,
        ),
        (unreachable(), true),
    ] {
        assert!(state.begin().is_some());
        let message = failure.message.clone();
        assert_eq!(
            state.load_finished(outcome(None, Some(failure))),
            is_news,
            "{message}"
        );
        assert!(
            why(&state).is_some_and(|why| why.ends_with(&message)),
            "{message}"
        );
        let said = ready(&state);
        assert!(
            said.starts_with(&message) && said.contains("what it is for is held"),
            "{said}"
        );
        assert!(blocks_after_a_restart(&state));
    }
    assert!(state.begin().is_some());
    assert!(state.load_finished(outcome(
        None,
        Some(LoadFailure::new(LoadErrorReason::Unfit, "it traps"))
    )));
    assert_eq!((why(&state), state.is_in_catalog()), (None, false));
    assert_eq!(
        ready(&state),
        "it traps; it has not been in force yet, and changes nothing"
    );
    assert!(!blocks_after_a_restart(&state), "its status reports the failure");
    state.resource.generation = 1;
    let mut anew = of_cluster(&json!({}));
    anew.resource.status = status(&state);
    assert!(
        anew.at_start().blocks_untried(),
        "the status is about another spec"
    );
    state.resource.generation = 0;
    // From then on it counts as one that was never active.
    assert!(state.begin().is_some());
    assert!(!state.load_finished(outcome(None, Some(unreachable()))));
    assert_eq!(why(&state), None);
}

/// A version that was rolled back does not become active again because its source was unreachable at a start.
#[tokio::test(start_paused = true)]
async fn a_rollback_survives_an_unreachable_source_at_a_start() {
    let mut state = of_cluster(&json!({})).at_start();
    state.resource.status = serde_json::from_value(json!({
        "observedGeneration": 0, "digest": "sha256:1",
        "lastGood": {"generation": 0, "digest": "sha256:1", "settings": {}, "rolledBack": "sha256:2"},
    }))
    .unwrap_or_else(|error| panic!("{error}"));
    assert!(state.begin().is_some());
    let failure = LoadFailure::new(SourceReason::RegistryUnreachable, "no answer").of_source();
    state.load_finished(outcome(None, Some(failure)));
    assert!(state.blocks_untried() && !state.is_unknown());
    let mut resource = state.resource.clone();
    resource.status = status::desired(&resource, None, None, state.failure(), state.is_unknown());
    assert_eq!(
        PluginState::new(resource).rolled_back.as_deref(),
        Some("sha256:2")
    );
}

#[test]
fn a_start_waits_for_active_plugins_and_plugins_of_the_cluster() {
    assert!(!plugin(&json!({})).delays_start());
    assert!(plugin(&json!({"digest": "sha256:1"})).delays_start());
    assert!(of_cluster(&json!({})).delays_start());
}

#[tokio::test(start_paused = true)]
async fn only_components_of_tenants_are_given_up() {
    let failed = || Some(LoadFailure::new(LoadErrorReason::Unfit, "it traps").of("sha256:1"));
    let mut state = plugin(&json!({}));
    for _ in 0..TRIALS {
        assert!(state.begin().is_some_and(|request| request.given_up.is_none()));
        state.load_finished(outcome(None, failed()));
    }
    assert_eq!(state.begin().and_then(|request| request.given_up), failed());
    state.running = false;
    state.resource.id.namespace = None;
    assert!(state.begin().is_some_and(|request| request.given_up.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_scheduled_again() {
    let mut state = plugin(&json!({}));
    assert!(state.start_waiting() && state.begin().is_some() && !state.start_waiting());
    state.load_finished(outcome(
        None,
        Some(LoadFailure::new(LoadErrorReason::Unfit, "it panicked")),
    ));
    assert_eq!(reason(&state), Some(LoadErrorReason::Unfit.into()));
    assert_eq!(state.due(), Some(Instant::now() + FIRST_WAIT));
    assert!(
        state.start_waiting() && state.due().is_none(),
        "it waits in the queue"
    );
}
