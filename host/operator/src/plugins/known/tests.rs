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

/// What can be in force: bytes with this digest, that were asked for in this generation.
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

/// What is said of it: the reason, and the message.
fn said(known: &Known) -> Option<(&str, &str)> {
    let failure = known.failure()?;
    Some((failure.reason, failure.message.as_str()))
}

/// The reason for which it is not as the resource asks for.
fn reason(known: &Known) -> Option<&str> {
    known.failure().map(|failure| failure.reason)
}

#[tokio::test(start_paused = true)]
async fn a_file_is_looked_at_again_and_again() {
    let mut known = known(&json!({}));
    for good in [Some(good("sha256:1", 2)), None, None] {
        assert!(known.begin().is_some());
        known.ended(outcome(good, None));
        assert_eq!(known.due(), Some(Instant::now() + Duration::from_secs(10)));
        assert!(known.begin().is_some_and(|attempt| attempt.look));
        known.running = false;
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_finds_nothing_new_does_not_make_it_well() {
    let mut known = known(&json!({}));
    known.ended(outcome(Some(good("sha256:1", 2)), None));
    assert!(!known.go_back("it traps", false));
    known.ended(outcome(None, None));
    assert_eq!(reason(&known), Some(FAILS_IN_OPERATION));
    assert_eq!(known.due(), Some(Instant::now() + Duration::from_secs(10)));
    // As long as the source can't be looked at, that is said.
    known.ended(outcome(
        None,
        Some(LoadFailure::new("Unreadable", "no such file")),
    ));
    assert_eq!(reason(&known), Some("Unreadable"));
    known.ended(outcome(None, None));
    assert_eq!(reason(&known), Some(FAILS_IN_OPERATION));
    assert!(known.is_well() && !known.is_well() && known.failure().is_none());
    // Other code begins anew.
    known.go_back("it traps", false);
    known.ended(outcome(Some(good("sha256:2", 2)), None));
    assert_eq!(reason(&known), None);
}

#[tokio::test(start_paused = true)]
async fn why_something_was_taken_back_is_said_until_the_source_holds_something_else() {
    let again = || Some(LoadFailure::new(ROLLED_BACK, "push another one"));
    let mut known = known(&json!({}));
    known.ended(outcome(Some(good("sha256:1", 1)), None));
    known.ended(outcome(Some(good("sha256:2", 2)), None));
    known.ended(outcome(
        None,
        Some(LoadFailure::new("Unreadable", "no such file")),
    ));
    assert!(known.go_back("it traps", true));
    assert_eq!(reason(&known), Some(ROLLED_BACK));
    let why = "p 1 (2) failed again and again and was taken back for p 1 (1): it traps";
    known.ended(outcome(None, again()));
    assert_eq!(said(&known), Some((ROLLED_BACK, why)));
    known.ended(outcome(
        None,
        Some(LoadFailure::new("Unreadable", "no such file")),
    ));
    assert_eq!(said(&known), Some(("Unreadable", "no such file")));
    known.ended(outcome(None, again()));
    assert_eq!(said(&known), Some((ROLLED_BACK, why)));
    // What is in force now fails too, which concerns more than what is not.
    assert!(!known.go_back("it traps too", true));
    known.ended(outcome(None, again()));
    assert_eq!(reason(&known), Some(FAILS_IN_OPERATION));
    assert!(known.is_well());
    assert_eq!(said(&known), Some((ROLLED_BACK, "push another one")));
    // The source holds again what is in force.
    known.ended(outcome(None, None));
    assert_eq!(said(&known), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_it_is_still_said_why_something_was_taken_back() {
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
        known.ended(outcome(Some(good("sha256:1", 1)), Some(failure)));
        assert_eq!(said(&known), Some((ROLLED_BACK, expected)), "{reason}");
    }
}

/// The status in which who leads says that it put this in force, and took that back.
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
async fn what_who_leads_takes_back_is_taken_back() {
    let mut known = known(&json!({}));
    known.ended(outcome(Some(good("sha256:1", 1)), None));
    known.ended(outcome(Some(good("sha256:2", 2)), None));
    known.resource.status = led("sha256:2", 2, None);
    assert_eq!(known.follow(), Follow::Stay);
    known.resource.status = led("sha256:1", 1, Some("sha256:2"));
    // Of an older state of the resource, nothing is concluded.
    known.resource.status.observed_generation = Some(1);
    assert_eq!(known.follow(), Follow::Stay);
    known.resource.status.observed_generation = Some(2);
    assert_eq!(known.follow(), Follow::Exchanged);
    assert_eq!(digest(&known), Some("sha256:1"));
    assert_eq!(said(&known), Some((ROLLED_BACK, "it failed and was taken back")));
    assert_eq!(known.rolled_back.as_deref(), Some("sha256:2"));
    assert_eq!(known.follow(), Follow::Stay, "that was done");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_have_the_version_before_loads_it() {
    let mut known = known(&json!({"digest": "sha256:1", "interfaces": ["policy"]}));
    known.ended(outcome(Some(good("sha256:2", 2)), None));
    known.resource.status = led("sha256:1", 1, Some("sha256:2"));
    assert_eq!(known.follow(), Follow::Load);
    assert_eq!(digest(&known), None);
    assert!(known.entry().is_some(), "what it looks after is held meanwhile");
    assert!(known.begin().is_some_and(|attempt| attempt.good.is_none()));
    let again = LoadFailure::new(ROLLED_BACK, "not again");
    known.ended(outcome(Some(good("sha256:1", 1)), Some(again)));
    assert_eq!(known.follow(), Follow::Stay);
    assert_eq!(digest(&known), Some("sha256:1"));
    assert_eq!(said(&known), Some((ROLLED_BACK, "it failed and was taken back")));
}

/// An attempt that was under way has compared the source with what is not in force any more.
#[tokio::test(start_paused = true)]
async fn an_attempt_is_made_anew_when_something_was_taken_back_meanwhile() {
    let ended = |attempt: &Attempt, good: Option<Good>| Outcome {
        before: attempt.good.as_ref().map(Good::mark),
        ..outcome(good, None)
    };
    // With the version before, and without.
    for before in [Some(good("sha256:1", 1)), None] {
        let mut known = known(&json!({"digest": "sha256:1"}));
        known.good = before;
        known.ended(outcome(Some(good("sha256:2", 2)), None));
        let attempt = known.begin().unwrap_or_else(|| panic!("none begins"));
        known.resource.status = led("sha256:1", 1, Some("sha256:2"));
        assert_ne!(known.follow(), Follow::Stay);
        assert!(known.begin().is_none(), "one is under way");
        assert!(known.is_outdated(&ended(&attempt, Some(good("sha256:2", 2)))));
        known.running = true;
        assert!(!known.is_outdated(&ended(&attempt, Some(good("sha256:3", 2)))));
        assert!(known.is_outdated(&ended(&attempt, None)));
        let again = known.begin().unwrap_or_else(|| panic!("none begins"));
        assert_eq!(again.rolled_back.as_deref(), Some("sha256:2"));
        assert!(!known.is_outdated(&ended(&again, None)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_follows_takes_the_status_that_comes_with_a_change() {
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
        // Who led before has written it.
        (about(3), true, Some("sha256:2")),
    ] {
        let mut known = known(&json!({"name": "own"}));
        known.ended(outcome(Some(good("sha256:1", 1)), None));
        known.ended(outcome(Some(good("sha256:2", 2)), None));
        let is_own = leads && status.observed_generation == Some(2);
        known.wants(change(status), leads);
        assert_eq!(known.resource.status.name.is_some(), is_own);
        assert_eq!(known.rolled_back.as_deref(), expected, "{leads}");
        let taken_back = known.follow() == Follow::Exchanged;
        assert_eq!(taken_back, expected.is_some(), "{leads}");
        let attempt = known.begin().unwrap_or_else(|| panic!("none begins"));
        assert_eq!(attempt.rolled_back.as_deref(), expected, "{leads}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_who_leads_has_found_at_the_source_is_looked_for() {
    let mut known = known(&json!({}));
    known.ended(outcome(Some(good("sha256:1", 2)), None));
    known.resource.status = led("sha256:2", 2, None);
    assert_eq!(known.follow(), Follow::Look);
    assert_eq!(known.follow_back(), Follow::Stay);
    assert_eq!(
        digest(&known),
        Some("sha256:1"),
        "in force until its successor is ready"
    );
    assert!(known.begin().is_some_and(|attempt| attempt.look));
}

/// A plugin of the cluster with these fields, that has no status.
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
async fn what_may_be_an_administrators_policy_holds_until_it_is_known(
    #[case] fields: Value,
    #[case] expected: bool,
) {
    let policy = |known: &Known| known.entry().and_then(|entry| entry.policy);
    // One that is made later holds nobody up.
    assert!(policy(&of_cluster(&fields)).is_none() && !of_cluster(&fields).counts());
    let tenants = known(&json!({})).at_start();
    assert!(policy(&tenants).is_none());
    for good in [None, Some(good("sha256:1", 0))] {
        let mut known = of_cluster(&fields).at_start();
        assert!(known.begin().is_some());
        let held = policy(&known);
        assert_eq!((held.is_some(), known.counts()), (expected, expected));
        assert!(held.is_none_or(|held| held.is_err()));
        let failure = good.is_none().then(|| LoadFailure::new("Unfit", "it traps"));
        let is_good = good.is_some();
        assert_eq!(known.ended(outcome(good, failure)), is_good || expected);
        assert_eq!((policy(&known).is_some(), known.counts()), (false, is_good));
    }
}

/// After a restore without statuses, the registry may come later than the operator.
#[tokio::test(start_paused = true)]
async fn what_is_not_had_from_its_source_holds_until_it_is_known() {
    let why = |known: &Known| {
        let policy = known.entry().and_then(|entry| entry.policy)?;
        policy.err().map(|error| error.message)
    };
    let unreachable = || LoadFailure::new("RegistryUnreachable", "no answer").of_source();
    let status =
        |known: &Known| report::status(&known.resource, None, None, known.failure(), known.is_unknown());
    let ready = |known: &Known| status(known).conditions[0].message.clone().unwrap_or_default();
    let holds_after_a_restart = |known: &Known| {
        let mut anew = of_cluster(&json!({}));
        anew.resource.status = status(known);
        anew.at_start().holds_first()
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
        assert_eq!(known.ended(outcome(None, Some(failure))), is_news, "{message}");
        assert!(
            why(&known).is_some_and(|why| why.ends_with(&message)),
            "{message}"
        );
        let said = ready(&known);
        assert!(
            said.starts_with(&message) && said.contains("what it is for is held"),
            "{said}"
        );
        assert!(holds_after_a_restart(&known));
    }
    assert!(known.begin().is_some());
    assert!(known.ended(outcome(None, Some(LoadFailure::new("Unfit", "it traps")))));
    assert_eq!((why(&known), known.counts()), (None, false));
    assert_eq!(
        ready(&known),
        "it traps; it has not been in force yet, and changes nothing"
    );
    assert!(!holds_after_a_restart(&known), "its status is not lost");
    known.resource.generation = 1;
    let mut anew = of_cluster(&json!({}));
    anew.resource.status = status(&known);
    assert!(anew.at_start().holds_first(), "that is about another spec");
    known.resource.generation = 0;
    // From then on it is one that was never in force.
    assert!(known.begin().is_some());
    assert!(!known.ended(outcome(None, Some(unreachable()))));
    assert_eq!(why(&known), None);
}

/// A version that was taken back is not in force again because its source could not be reached at a start.
#[tokio::test(start_paused = true)]
async fn what_was_taken_back_stays_so_whatever_its_source_does_at_a_start() {
    let mut known = of_cluster(&json!({})).at_start();
    known.resource.status = serde_json::from_value(json!({
        "observedGeneration": 0, "digest": "sha256:1",
        "lastGood": {"generation": 0, "digest": "sha256:1", "settings": {}, "rolledBack": "sha256:2"},
    }))
    .unwrap_or_else(|error| panic!("{error}"));
    assert!(known.begin().is_some());
    let failure = LoadFailure::new("RegistryUnreachable", "no answer").of_source();
    known.ended(outcome(None, Some(failure)));
    assert!(known.holds_first() && !known.is_unknown());
    let mut resource = known.resource.clone();
    resource.status = report::status(&resource, None, None, known.failure(), known.is_unknown());
    assert_eq!(Known::new(resource).rolled_back.as_deref(), Some("sha256:2"));
}

#[test]
fn a_start_waits_for_what_was_in_force_and_for_what_an_administrator_wants() {
    assert!(!known(&json!({})).is_awaited());
    assert!(known(&json!({"digest": "sha256:1"})).is_awaited());
    assert!(of_cluster(&json!({})).is_awaited());
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_used_is_given_up_unless_it_is_an_administrators() {
    let failed = || Some(LoadFailure::new("Unfit", "it traps").of("sha256:1"));
    let mut known = known(&json!({}));
    for _ in 0..TRIALS {
        assert!(known.begin().is_some_and(|attempt| attempt.given_up.is_none()));
        known.ended(outcome(None, failed()));
    }
    assert_eq!(known.begin().and_then(|attempt| attempt.given_up), failed());
    known.running = false;
    known.resource.id.namespace = None;
    assert!(known.begin().is_some_and(|attempt| attempt.given_up.is_none()));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_is_made_again_when_it_is_its_turn() {
    let mut known = known(&json!({}));
    assert!(known.wait() && known.begin().is_some() && !known.wait());
    known.ended(outcome(None, Some(LoadFailure::new("Unfit", "it panicked"))));
    assert_eq!(reason(&known), Some("Unfit"));
    assert_eq!(known.due(), Some(Instant::now() + FIRST_WAIT));
    assert!(known.wait() && known.due().is_none(), "it waits for its turn");
}
