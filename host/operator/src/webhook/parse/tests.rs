use rstest::rstest;
use serde_json::json;

use super::*;

fn review(operation: &str, kind: &str) -> Value {
    let object = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": kind,
        "metadata": {"name": "c", "managedFields": [{}], "creationTimestamp": null}, "spec": {"a": 1}});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": operation, "namespace": "n", "name": "c", "userInfo": {"username": "me"},
        "kind": {"group": "kubernetes.dask.org", "version": "v1", "kind": kind},
        "resource": {"group": "kubernetes.dask.org", "version": "v1", "resource": "x"}, "subResource": "",
        "object": if operation == "DELETE" { Value::Null } else { object.clone() },
        "oldObject": if operation == "CREATE" { Value::Null } else { object },
    }})
}

#[rstest]
#[case("CREATE", "create", false)]
#[case("UPDATE", "update", true)]
#[case("DELETE", "delete", false)]
fn reads_requests(#[case] operation: &str, #[case] name: &str, #[case] old: bool) {
    let body = review(operation, "DaskCluster").to_string();
    let Ok(parsed) = parse(Step::Validate, body.as_bytes()) else {
        panic!("the request was not read");
    };
    let input = parsed.input;
    assert_eq!(input.operation_name(), name);
    assert_eq!(input.old.is_some(), old);
    assert_eq!(input.object["metadata"], json!({"name": "c", "namespace": "n"}));
    assert_eq!(input.user, "me");
    assert_eq!(input.user_info, r#"{"username":"me"}"#);
}

/// Returns the review that the API server sends for `kubectl scale`.
fn scaled(resource: &str) -> Value {
    let scale = |replicas: u32| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": replicas}, "status": {"replicas": 1},
            "metadata": {"name": "c", "namespace": "n", "uid": "u", "resourceVersion": "7"}})
    };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "UPDATE", "namespace": "n", "name": "c", "userInfo": {"username": "me"},
        "kind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "subResource": "scale",
        "resource": {"group": "kubernetes.dask.org", "version": "v1", "resource": resource},
        "object": scale(5), "oldObject": scale(1),
    }})
}

#[rstest]
#[case("daskclusters", DaskKind::Cluster)]
#[case("daskworkergroups", DaskKind::WorkerGroup)]
fn reads_scale_requests(#[case] resource: &str, #[case] kind: DaskKind) {
    let body = scaled(resource).to_string();
    let Ok(ParsedRequest { input, .. }) = parse(Step::Mutate, body.as_bytes()) else {
        panic!("the request was not read");
    };
    assert_eq!((input.step, input.target), (Step::Validate, Target::Scale(kind)));
    assert_eq!((input.operation_name(), input.old), ("scale", None));
    let expected = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u", "resourceVersion": "7"}, "replicas": 5});
    assert_eq!(input.object, expected);
}

/// Returns the outline of a request as text: the namespace, the bytes if they are many, `goes`, or the error.
fn outlined(review: &Value) -> String {
    match outline(review.to_string().as_bytes(), Some("operator")) {
        Ok(Outline::Decide { namespace, bytes }) if bytes < 1 << 20 => namespace,
        Ok(Outline::Decide { bytes, .. }) => bytes.to_string(),
        Ok(Outline::Skip { uid, kind }) => format!("{} {uid} goes", kind.kind()),
        Err(error) => error.to_string(),
    }
}

/// Replaces the spec by one that is small as text but large in memory.
fn bomb(mut review: Value) -> Value {
    review["request"]["object"]["spec"] = json!(vec![json!({"": 0}); MOST_BYTES / 640]);
    review
}

#[test]
fn rejects_requests_that_are_large_in_memory() {
    for kind in ["DaskCluster", "DaskPlugin"] {
        let error = outlined(&bomb(review("CREATE", kind)));
        assert!(error.contains("MiB of memory, more than 64: "), "{error}");
    }
    assert_eq!(outlined(&review("UPDATE", "DaskPlugin")), "n");
    assert_eq!(outlined(&scaled("daskclusters")), "n");
}

/// The garbage collector removes a finalizer, and no user can prevent that by making the object too large.
#[test]
fn admits_updates_of_objects_that_are_being_deleted() {
    let deleted = |operation, kind| {
        let mut review = bomb(review(operation, kind));
        review["request"]["object"]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        outlined(&review)
    };
    assert_eq!(deleted("UPDATE", "DaskCluster"), "DaskCluster u goes");
    for error in [deleted("UPDATE", "DaskPlugin"), deleted("CREATE", "DaskCluster")] {
        assert!(error.contains("more than 64"), "{error}");
    }
    let mut not_deleted = review("UPDATE", "DaskCluster");
    not_deleted["request"]["object"]["metadata"]["deletionTimestamp"] = Value::Null;
    assert_eq!(outlined(&not_deleted), "n");
}

/// The operator's own update of the group of a large cluster is not refused because of large fields that the update leaves as
/// they are.
#[test]
fn admits_large_updates_by_the_operator() {
    let by = |user: &str, operation, kind| {
        let mut review = bomb(review(operation, kind));
        review["request"]["userInfo"]["username"] = json!(user);
        outlined(&review)
    };
    assert_eq!(
        by("operator", "UPDATE", "DaskWorkerGroup"),
        "DaskWorkerGroup u goes"
    );
    for error in [
        by("me", "UPDATE", "DaskWorkerGroup"),
        by("operator", "CREATE", "DaskWorkerGroup"),
        by("operator", "UPDATE", "DaskPlugin"),
    ] {
        assert!(error.contains("more than 64"), "{error}");
    }
}

#[test]
fn the_object_gets_the_namespace_of_the_request() {
    let mut other = review("CREATE", "DaskCluster");
    other["request"]["object"]["metadata"]["namespace"] = json!("other");
    assert_eq!(outlined(&other), "n");
    let read = parse(Step::Mutate, other.to_string().as_bytes());
    let namespace = read.map(|parsed| parsed.input.object["metadata"]["namespace"].clone());
    assert_eq!(namespace.ok(), Some(json!("n")));
}

fn without(field: &str, mut review: Value) -> Value {
    if let Some(request) = review["request"].as_object_mut() {
        request.remove(field);
    }
    review
}

#[rstest]
#[case(json!({}), "must be an AdmissionReview")]
#[case(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}), "it has no `request`")]
#[case(json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}), "it is admission.k8s.io/v1beta1")]
#[case(without("object", review("CREATE", "DaskJob")), "has no object")]
#[case(without("oldObject", review("DELETE", "DaskJob")), "has no object")]
#[case(without("userInfo", review("CREATE", "DaskJob")), "missing field `userInfo`")]
#[case(review("CREATE", "Pod"), "not about kubernetes.dask.org/v1 Pod")]
#[case(review("CONNECT", "DaskJob"), "not about CONNECT")]
#[case(scaled("daskjobs"), "not about autoscaling/v1 Scale of daskjobs/scale")]
#[case(scaled("deployments"), "not about autoscaling/v1 Scale of deployments/scale")]
fn rejects_invalid_requests(#[case] body: Value, #[case] expected: &str) {
    let error = parse(Step::Mutate, body.to_string().as_bytes()).map_err(|error| error.to_string());
    assert!(
        error.as_ref().is_err_and(|error| error.contains(expected)),
        "{error:?}"
    );
}
