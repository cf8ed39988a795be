use std::collections::BTreeMap;

use dask_operator_api::{DaskPlugin, PluginStatus};
use rstest::rstest;
use serde_json::{Value, json};

use super::super::failure::NAMESPACES_UNKNOWN;
use super::super::{Entry, Scope, report};
use super::trials::TRIALS;
use super::*;

fn known(status: &Value) -> Known {
    let object = json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskPlugin",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 2},
        "spec": {"source": {"file": {"path": "/p.wasm"}}},
        "status": status,
    });
    let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
    Known::new(Resource::of_namespace(object))
}

/// A version that can be active: bytes with this digest, requested in this generation.
fn good(digest: &str, generation: i64) -> Good {
    let mut asked = known(&json!({})).resource;
    asked.generation = generation;
    Good {
        entry: Entry {
            id: asked.id.clone(),
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
        asked,
    }
}

fn outcome(good: Option<Good>, failure: Option<LoadFailure>) -> Outcome {
    let resource = known(&json!({})).resource;
    Outcome {
        id: resource.id,
        uid: resource.uid,
        generation: resource.generation,
        before: None,
        good,
        failure,
    }
}

/// Reason and message of the failure.
fn said(known: &Known) -> Option<(&str, &str)> {
    let failure = known.failure()?;
    Some((failure.reason, failure.message.as_str()))
}

/// Reason of the failure.
fn reason(known: &Known) -> Option<&str> {
    known.failure().map(|failure| failure.reason)
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_periodically() {
    let mut known = known(&json!({}));
    for good in [Some(good("sha256:1", 2)), None, None] {
        assert!(known.begin().is_some());
        known.apply(outcome(good, None));
        assert_eq!(known.due(), Some(Instant::now() + Duration::from_secs(10)));
        assert!(known.begin().is_some_and(|attempt| attempt.look));
        known.running = false;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_source_does_not_clear_a_failure_in_operation() {
    let mut known = known(&json!({}));
    known.apply(outcome(Some(good("sha256:1", 2)), None));
    assert!(!known.roll_back("it traps", false));
    known.apply(outcome(None, None));
    assert_eq!(reason(&known), Some(FAILS_IN_OPERATION));
    assert_eq!(known.due(), Some(Instant::now() + Duration::from_secs(10)));
    // A source that can't be read is reported while that lasts.
    known.apply(outcome(
        None,
        Some(LoadFailure::new("Unreadable", "no such file")),
    ));
    assert_eq!(reason(&known), Some("Unreadable"));
    known.apply(outcome(None, None));
    assert_eq!(reason(&known), Some(FAILS_IN_OPERATION));
    assert!(known.mark_recovered() && !known.mark_recovered() && known.failure().is_none());
    // Another component starts without failures.
    known.roll_back("it traps", false);
    known.apply(outcome(Some(good("sha256:2", 2)), None));
    assert_eq!(reason(&known), None);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_reported_until_the_source_changes() {
    let again = || Some(LoadFailure::new(ROLLED_BACK, "push another one"));
    let mut known = known(&json!({}));
    known.apply(outcome(Some(good("sha256:1", 1)), None));
    known.apply(outcome(Some(good("sha256:2", 2)), None));
    known.apply(outcome(
        None,
        Some(LoadFailure::new("Unreadable", "no such file")),
    ));
    assert!(known.roll_back("it traps", true));
    assert_eq!(reason(&known), Some(ROLLED_BACK));
    let why = "p 1 (2) failed again and again and was taken back for p 1 (1): it traps";
    known.apply(outcome(None, again()));
    assert_eq!(said(&known), Some((ROLLED_BACK, why)));
    known.apply(outcome(
        None,
        Some(LoadFailure::new("Unreadable", "no such file")),
    ));
    assert_eq!(said(&known), Some(("Unreadable", "no such file")));
    known.apply(outcome(None, again()));
    assert_eq!(said(&known), Some((ROLLED_BACK, why)));
    // The active version now fails too, which matters more than the one that is not active.
    assert!(!known.roll_back("it traps too", true));
    known.apply(outcome(None, again()));
    assert_eq!(reason(&known), Some(FAILS_IN_OPERATION));
    assert!(known.mark_recovered());
    assert_eq!(said(&known), Some((ROLLED_BACK, "push another one")));
    // The source holds the active version again.
    known.apply(outcome(None, None));
    assert_eq!(said(&known), None);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_still_reported_after_a_restart() {
    let status = |reason: &str, generation: i64| {
        json!({
            "observedGeneration": generation, "digest": "sha256:1", "error": "it trapped",
            "lastGood": {"generation": 1, "digest": "sha256:1", "rolledBack": "sha256:2"},
            "conditions": [{
                "type": "Ready", "status": "False", "reason": reason, "message": "it trapped",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        })
    };
    for (reason, generation, expected) in [
        (ROLLED_BACK, 2, "it trapped"),
        ("Unreadable", 2, "push another one"),
        // The resource was changed meanwhile.
        (ROLLED_BACK, 1, "push another one"),
    ] {
        let mut known = known(&status(reason, generation));
        assert!(known.is_loading() && known.failure().is_none(), "{reason}");
        let failure = LoadFailure::new(ROLLED_BACK, "push another one");
        known.apply(outcome(Some(good("sha256:1", 1)), Some(failure)));
        assert_eq!(said(&known), Some((ROLLED_BACK, expected)), "{reason}");
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

fn digest(known: &Known) -> Option<&str> {
    known.good.as_ref().map(|good| good.digest.as_str())
}

#[tokio::test(start_paused = true)]
async fn follows_a_rollback_of_the_leader() {
    let mut known = known(&json!({}));
    known.apply(outcome(Some(good("sha256:1", 1)), None));
    known.apply(outcome(Some(good("sha256:2", 2)), None));
    known.resource.status = led("sha256:2", 2, None);
    assert_eq!(known.follow(), Follow::Stay);
    known.resource.status = led("sha256:1", 1, Some("sha256:2"));
    // A status about an older generation is ignored.
    known.resource.status.observed_generation = Some(1);
    assert_eq!(known.follow(), Follow::Stay);
    known.resource.status.observed_generation = Some(2);
    assert_eq!(known.follow(), Follow::Exchanged);
    assert_eq!(digest(&known), Some("sha256:1"));
    assert_eq!(said(&known), Some((ROLLED_BACK, "it failed and was taken back")));
    assert_eq!(known.rolled_back.as_deref(), Some("sha256:2"));
    assert_eq!(known.follow(), Follow::Stay, "the rollback is done");
}

#[tokio::test(start_paused = true)]
async fn follows_a_rollback_by_loading_the_version_before() {
    let mut known = known(&json!({"digest": "sha256:1", "interfaces": ["policy"]}));
    known.apply(outcome(Some(good("sha256:2", 2)), None));
    known.resource.status = led("sha256:1", 1, Some("sha256:2"));
    assert_eq!(known.follow(), Follow::Load);
    assert_eq!(digest(&known), None);
    assert!(known.entry().is_some(), "its scope is blocked meanwhile");
    assert!(known.begin().is_some_and(|attempt| attempt.good.is_none()));
    let again = LoadFailure::new(ROLLED_BACK, "not again");
    known.apply(outcome(Some(good("sha256:1", 1)), Some(again)));
    assert_eq!(known.follow(), Follow::Stay);
    assert_eq!(digest(&known), Some("sha256:1"));
    assert_eq!(said(&known), Some((ROLLED_BACK, "it failed and was taken back")));
}

/// A running attempt has compared the source with a version that is not active any more.
#[tokio::test(start_paused = true)]
async fn a_rollback_makes_a_running_attempt_outdated() {
    let ended = |attempt: &Attempt, good: Option<Good>| Outcome {
        before: attempt.good.as_ref().map(Good::mark),
        ..outcome(good, None)
    };
    // With the version before, and without.
    for before in [Some(good("sha256:1", 1)), None] {
        let mut known = known(&json!({"digest": "sha256:1"}));
        known.good = before;
        known.apply(outcome(Some(good("sha256:2", 2)), None));
        let attempt = known.begin().unwrap_or_else(|| panic!("no attempt starts"));
        known.resource.status = led("sha256:1", 1, Some("sha256:2"));
        assert_ne!(known.follow(), Follow::Stay);
        assert!(known.begin().is_none(), "one is running");
        assert!(known.is_outdated(&ended(&attempt, Some(good("sha256:2", 2)))));
        known.running = true;
        assert!(!known.is_outdated(&ended(&attempt, Some(good("sha256:3", 2)))));
        assert!(known.is_outdated(&ended(&attempt, None)));
        let again = known.begin().unwrap_or_else(|| panic!("no attempt starts"));
        assert_eq!(again.rolled_back.as_deref(), Some("sha256:2"));
        assert!(!known.is_outdated(&ended(&again, None)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_over_the_status_of_a_changed_resource() {
    let change = |status: PluginStatus| Resource {
        generation: 3,
        status,
        ..known(&json!({})).resource
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
        let mut known = known(&json!({"name": "own"}));
        known.apply(outcome(Some(good("sha256:1", 1)), None));
        known.apply(outcome(Some(good("sha256:2", 2)), None));
        let is_own = leads && status.observed_generation == Some(2);
        known.update_resource(change(status), leads);
        assert_eq!(known.resource.status.name.is_some(), is_own);
        assert_eq!(known.rolled_back.as_deref(), expected, "{leads}");
        let is_rolled_back = known.follow() == Follow::Exchanged;
        assert_eq!(is_rolled_back, expected.is_some(), "{leads}");
        let attempt = known.begin().unwrap_or_else(|| panic!("no attempt starts"));
        assert_eq!(attempt.rolled_back.as_deref(), expected, "{leads}");
    }
}

#[tokio::test(start_paused = true)]
async fn follows_the_leader_by_fetching_the_source() {
    let mut known = known(&json!({}));
    known.apply(outcome(Some(good("sha256:1", 2)), None));
    known.resource.status = led("sha256:2", 2, None);
    assert_eq!(known.follow(), Follow::Look);
    assert_eq!(known.follow_rollback(), Follow::Stay);
    assert_eq!(
        digest(&known),
        Some("sha256:1"),
        "active until its successor is ready"
    );
    assert!(known.begin().is_some_and(|attempt| attempt.look));
}

/// A plugin of the cluster with these fields and without a status.
fn of_cluster(fields: &Value) -> Known {
    let mut object = json!({"metadata": {"name": "p"}, "spec": {"source": {"file": {"path": "/p.wasm"}}}});
    for (name, value) in fields.as_object().into_iter().flatten() {
        object["spec"][name] = value.clone();
    }
    let object = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
    Known::new(Resource::of_cluster(object))
}

#[rstest]
#[case::usual(json!({}), true)]
#[case::policy(json!({"interfaces": ["worker-group", "policy"]}), true)]
#[case::logic(json!({"interfaces": ["worker-group"]}), false)]
#[case::only_monitors(json!({"mode": "monitor"}), false)]
#[tokio::test(start_paused = true)]
async fn an_untried_policy_of_the_cluster_blocks_its_scope(#[case] fields: Value, #[case] expected: bool) {
    let policy = |known: &Known| known.entry().and_then(|entry| entry.policy);
    // A plugin that is created later blocks nothing.
    assert!(policy(&of_cluster(&fields)).is_none() && !of_cluster(&fields).is_in_catalog());
    let tenants = known(&json!({})).at_start();
    assert!(policy(&tenants).is_none());
    for good in [None, Some(good("sha256:1", 0))] {
        let mut known = of_cluster(&fields).at_start();
        assert!(known.begin().is_some());
        let held = policy(&known);
        assert_eq!((held.is_some(), known.is_in_catalog()), (expected, expected));
        assert!(held.is_none_or(|held| held.is_err()));
        let failure = good.is_none().then(|| LoadFailure::new("Unfit", "it traps"));
        let is_good = good.is_some();
        assert_eq!(known.apply(outcome(good, failure)), is_good || expected);
        assert_eq!(
            (policy(&known).is_some(), known.is_in_catalog()),
            (false, is_good)
        );
    }
}

/// After a restore without statuses, the registry may become available later than the operator.
#[tokio::test(start_paused = true)]
async fn an_unreachable_source_keeps_a_policy_of_the_cluster_blocking() {
    let why = |known: &Known| {
        let policy = known.entry().and_then(|entry| entry.policy)?;
        policy.err().map(|error| error.message)
    };
    let unreachable = || LoadFailure::new("RegistryUnreachable", "no answer").of_source();
    let status =
        |known: &Known| report::status(&known.resource, None, None, known.failure(), known.is_unknown());
    let ready = |known: &Known| status(known).conditions[0].message.clone().unwrap_or_default();
    let blocks_after_a_restart = |known: &Known| {
        let mut anew = of_cluster(&json!({}));
        anew.resource.status = status(known);
        anew.at_start().blocks_untried()
    };
    let mut known = of_cluster(&json!({})).at_start();
    for (failure, is_news) in [
        (unreachable(), true),
        (unreachable(), false),
        (LoadFailure::new("NoTimeLeft", "it is late"), true),
        (
            LoadFailure::new(NAMESPACES_UNKNOWN, "it may not list namespaces"),
            true,
        ),
        (unreachable(), true),
    ] {
        assert!(known.begin().is_some());
        let message = failure.message.clone();
        assert_eq!(known.apply(outcome(None, Some(failure))), is_news, "{message}");
        assert!(
            why(&known).is_some_and(|why| why.ends_with(&message)),
            "{message}"
        );
        let said = ready(&known);
        assert!(
            said.starts_with(&message) && said.contains("what it is for is held"),
            "{said}"
        );
        assert!(blocks_after_a_restart(&known));
    }
    assert!(known.begin().is_some());
    assert!(known.apply(outcome(None, Some(LoadFailure::new("Unfit", "it traps")))));
    assert_eq!((why(&known), known.is_in_catalog()), (None, false));
    assert_eq!(
        ready(&known),
        "it traps; it has not been in force yet, and changes nothing"
    );
    assert!(!blocks_after_a_restart(&known), "its status reports the failure");
    known.resource.generation = 1;
    let mut anew = of_cluster(&json!({}));
    anew.resource.status = status(&known);
    assert!(
        anew.at_start().blocks_untried(),
        "the status is about another spec"
    );
    known.resource.generation = 0;
    // From then on it counts as one that was never active.
    assert!(known.begin().is_some());
    assert!(!known.apply(outcome(None, Some(unreachable()))));
    assert_eq!(why(&known), None);
}

/// A version that was rolled back does not become active again because its source was unreachable at a start.
#[tokio::test(start_paused = true)]
async fn a_rollback_survives_an_unreachable_source_at_a_start() {
    let mut known = of_cluster(&json!({})).at_start();
    known.resource.status = serde_json::from_value(json!({
        "observedGeneration": 0, "digest": "sha256:1",
        "lastGood": {"generation": 0, "digest": "sha256:1", "settings": {}, "rolledBack": "sha256:2"},
    }))
    .unwrap_or_else(|error| panic!("{error}"));
    assert!(known.begin().is_some());
    let failure = LoadFailure::new("RegistryUnreachable", "no answer").of_source();
    known.apply(outcome(None, Some(failure)));
    assert!(known.blocks_untried() && !known.is_unknown());
    let mut resource = known.resource.clone();
    resource.status = report::status(&resource, None, None, known.failure(), known.is_unknown());
    assert_eq!(Known::new(resource).rolled_back.as_deref(), Some("sha256:2"));
}

#[test]
fn a_start_waits_for_active_plugins_and_plugins_of_the_cluster() {
    assert!(!known(&json!({})).is_awaited());
    assert!(known(&json!({"digest": "sha256:1"})).is_awaited());
    assert!(of_cluster(&json!({})).is_awaited());
}

#[tokio::test(start_paused = true)]
async fn only_components_of_tenants_are_given_up() {
    let failed = || Some(LoadFailure::new("Unfit", "it traps").of("sha256:1"));
    let mut known = known(&json!({}));
    for _ in 0..TRIALS {
        assert!(known.begin().is_some_and(|attempt| attempt.given_up.is_none()));
        known.apply(outcome(None, failed()));
    }
    assert_eq!(known.begin().and_then(|attempt| attempt.given_up), failed());
    known.running = false;
    known.resource.id.namespace = None;
    assert!(known.begin().is_some_and(|attempt| attempt.given_up.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_scheduled_again() {
    let mut known = known(&json!({}));
    assert!(known.start_waiting() && known.begin().is_some() && !known.start_waiting());
    known.apply(outcome(None, Some(LoadFailure::new("Unfit", "it panicked"))));
    assert_eq!(reason(&known), Some("Unfit"));
    assert_eq!(known.due(), Some(Instant::now() + FIRST_WAIT));
    assert!(
        known.start_waiting() && known.due().is_none(),
        "it waits in the queue"
    );
}
