use rstest::rstest;
use serde_json::json;

use super::*;

#[rstest]
#[case::none(json!({"kind": "DaskCluster", "spec": {"worker": {"spec": {"anything": 1}}}}), &[])]
#[case::top(json!({"kind": "DaskCluster", "spec": {"wroker": {}}}),
    &["spec.wroker: there is no such field; did you mean `worker`?"])]
#[case::deeper(json!({"kind": "DaskJob", "spec": {"cluster": {"spec": {"worker": {"Replicas": 1}}}}}),
    &["spec.cluster.spec.worker.Replicas: there is no such field; did you mean `replicas`?"])]
#[case::nothing_alike(json!({"kind": "DaskAutoscaler", "spec": {"size": 1}}),
    &["spec.size: there is no such field; there are cluster, maximum, minimum"])]
#[case::of_the_pod(json!({"kind": "DaskCluster", "spec": {"worker": {"containers": [], "tolerations": []}}}),
    &["spec.worker.containers: there is no such field; did you mean `spec.worker.spec.containers`?",
      "spec.worker.tolerations: there is no such field; did you mean `spec.worker.spec.tolerations`?"])]
#[case::of_the_container(json!({"kind": "DaskCluster", "spec": {"worker": {"env": [], "image": "i:1", "resources": {}}}}),
    &["spec.worker.env: there is no such field; did you mean `spec.worker.spec.containers[0].env`?",
      "spec.worker.image: there is no such field; did you mean `spec.worker.spec.containers[0].image`?",
      "spec.worker.resources: there is no such field; did you mean `spec.worker.spec.containers[0].resources`?"])]
#[case::of_both_pods(json!({"kind": "DaskCluster", "spec": {"nodeSelector": {}}}),
    &["spec.nodeSelector: there is no such field; did you mean `spec.scheduler.spec.nodeSelector` or `spec.worker.spec.nodeSelector`?"])]
#[case::of_the_cluster(json!({"kind": "DaskJob", "spec": {"cluster": {"spec": {}, "worker": {}}}}),
    &["spec.cluster.worker: there is no such field; did you mean `spec.cluster.spec.worker`?"])]
#[case::one_level_up(json!({"kind": "DaskCluster", "spec": {"worker": {"idleTimeout": 1}}}),
    &["spec.worker.idleTimeout: there is no such field; did you mean `spec.idleTimeout`?"])]
#[case::of_the_service(json!({"kind": "DaskCluster", "spec": {"scheduler": {"ports": [], "serviceType": "NodePort"}}}),
    &["spec.scheduler.ports: there is no such field; did you mean `spec.scheduler.service.ports`?",
      "spec.scheduler.serviceType: there is no such field; did you mean `spec.scheduler.service.type`?"])]
#[case::a_deployment(json!({"kind": "DaskCluster", "spec": {"worker": {"template": {"spec": {}}}}}),
    &["spec.worker.template: there is no such field; write its `spec` here"])]
#[case::is_set_already(json!({"kind": "DaskCluster", "spec": {"worker": {}, "workers": {}}}),
    &["spec.workers: there is no such field; did you mean `worker`, which is there already?"])]
#[case::two(json!({"kind": "DaskWorkerGroup", "spec": {"worker": {"y": 1}, "x": 1}}),
    &["spec.worker.y: ", "spec.x: "])]
#[case::other_type(json!({"kind": "DaskCluster", "spec": {"worker": [{"wroker": 1}]}}), &[])]
#[case::other_kind(json!({"kind": "Pod", "spec": {"wroker": 1}}), &[])]
fn reports_unknown_fields(#[case] object: Value, #[case] expected: &[&str]) {
    let kind = object["kind"].as_str().and_then(DaskKind::from_kind);
    let findings = kind.map(|kind| CrdFields::new().unknown(kind, &object));
    let messages: Vec<_> = findings
        .into_iter()
        .flatten()
        .map(|finding| format!("{}: {}", finding.field, finding.message))
        .collect();
    assert_eq!(messages.len(), expected.len(), "{messages:?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.starts_with(expected), "{message}");
    }
}

#[rstest]
#[case::fine(json!({"worker": {"spec": {"containers": [{"name": "w", "resources": {"limits": {"memory": 1}}}],
    "nodeSelector": {"anything": "goes"}}}}), &[])]
#[case::container(json!({"worker": {"spec": {"containers": [{"resource": {}}]}}}),
    &["spec.worker.spec.containers[0].resource: Kubernetes has no such field and drops it; did you mean `resources`?"])]
#[case::pod(json!({"scheduler": {"spec": {"nodeselector": {}}}}),
    &["spec.scheduler.spec.nodeselector: Kubernetes has no such field and drops it; did you mean `nodeSelector`?"])]
#[case::one_level_up(json!({"scheduler": {"spec": {"containers": [{"readinessProbe": {"tcpSocket": {"initialDelaySeconds": 1}}}]}}}),
    &["spec.scheduler.spec.containers[0].readinessProbe.tcpSocket.initialDelaySeconds: Kubernetes has no such field and drops it; \
       did you mean `spec.scheduler.spec.containers[0].readinessProbe.initialDelaySeconds`?"])]
#[case::of_the_pod(json!({"worker": {"spec": {"containers": [{"imagePullSecrets": []}]}}}),
    &["spec.worker.spec.containers[0].imagePullSecrets: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.imagePullSecrets`?"])]
#[case::of_the_resource(json!({"worker": {"spec": {"replicas": 2}}}),
    &["spec.worker.spec.replicas: Kubernetes has no such field and drops it; did you mean `spec.worker.replicas`?"])]
#[case::of_the_pod_s_security(json!({"worker": {"spec": {"containers": [{"securityContext": {"fsGroup": 1}}]}}}),
    &["spec.worker.spec.containers[0].securityContext.fsGroup: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.securityContext.fsGroup`?"])]
#[case::of_the_container_s_security(json!({"worker": {"spec": {"securityContext": {"privileged": true}}}}),
    &["spec.worker.spec.securityContext.privileged: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].securityContext.privileged`?"])]
#[case::of_the_container(json!({"worker": {"spec": {"env": [], "image": "a:1", "containers": [{"image": "i:1"}]}}}),
    &["spec.worker.spec.env: Kubernetes has no such field and drops it; did you mean `spec.worker.spec.containers[0].env`?",
      "spec.worker.spec.image: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].image`, which is there already?"])]
#[case::another_name(json!({"worker": {"spec": {"volumes": [{"name": "a", "persistentVolumeClaim": {"name": "b"}},
    {"name": "c", "secret": {"name": "d"}}, {"name": "e", "configMap": {"configMapName": "f"}}]}}}),
    &["spec.worker.spec.volumes[0].persistentVolumeClaim.name: Kubernetes has no such field and drops it; did you mean `claimName`?",
      "spec.worker.spec.volumes[1].secret.name: Kubernetes has no such field and drops it; did you mean `secretName`?",
      "spec.worker.spec.volumes[2].configMap.configMapName: Kubernetes has no such field and drops it; did you mean `name`?"])]
#[case::account_of_the_pod(json!({"worker": {"spec": {"containers": [{"serviceAccountName": "a"}]}}}),
    &["spec.worker.spec.containers[0].serviceAccountName: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.serviceAccountName`?"])]
#[case::one_level_down(json!({"worker": {"spec": {"containers": [{"env": [{"name": "A", "secretKeyRef": {}}],
    "envFrom": [{"name": "keys"}], "limits": {}, "readinessProbe": {"path": "/"}, "resources": {"memory": 1}}], "podAntiAffinity": {}}}}),
    &["spec.worker.spec.containers[0].env[0].secretKeyRef: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].env[0].valueFrom.secretKeyRef`?",
      "spec.worker.spec.containers[0].envFrom[0].name: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].envFrom[0].configMapRef.name` or `spec.worker.spec.containers[0].envFrom[0].secretRef.name`?",
      "spec.worker.spec.containers[0].limits: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].resources.limits`?",
      "spec.worker.spec.containers[0].readinessProbe.path: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].readinessProbe.httpGet.path`?",
      "spec.worker.spec.containers[0].resources.memory: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].resources.limits.memory` or `spec.worker.spec.containers[0].resources.requests.memory`?",
      "spec.worker.spec.podAntiAffinity: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.affinity.podAntiAffinity`?"])]
#[case::one_of_several_levels_down(json!({"worker": {"spec": {"containers": [{"readinessProbe": {"port": 1}}]}}}),
    &["spec.worker.spec.containers[0].readinessProbe.port: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].readinessProbe.grpc.port` or `spec.worker.spec.containers[0].readinessProbe.httpGet.port` or \
       `spec.worker.spec.containers[0].readinessProbe.tcpSocket.port`?"])]
#[case::of_a_given_object(json!({"worker": {"spec": {"containers": [{"envFrom": [{"secretRef": {}, "name": "keys"}]}]}}}),
    &["spec.worker.spec.containers[0].envFrom[0].name: Kubernetes has no such field and drops it; did you mean \
       `spec.worker.spec.containers[0].envFrom[0].secretRef.name`?"])]
#[case::given_further_up(json!({"worker": {"spec": {"volumes": [], "containers": [{"volumes": []}]}}}),
    &["spec.worker.spec.containers[0].volumes: Kubernetes has no such field and drops it; did you mean `spec.worker.spec.volumes`, \
       which is there already?"])]
#[case::of_a_deployment(json!({"worker": {"spec": {"template": {}, "volumeClaimTemplates": []}}}),
    &["spec.worker.spec.template: Kubernetes has no such field and drops it; write what stands in its `spec` here",
      "spec.worker.spec.volumeClaimTemplates: Kubernetes has no such field and drops it; a volume has it: write it as \
       `spec.worker.spec.volumes[].ephemeral.volumeClaimTemplate`"])]
#[case::an_empty_directory(json!({"worker": {"spec": {"volumes": [{"name": "a", "secretName": "keys"}, {"name": "b", "pvc": {}},
    {"name": "c", "emptyDir": {}, "size": 1}]}}}),
    &["spec.worker.spec.volumes[0].secretName: Mistake: Kubernetes has no such field and drops it, so that the volume is an empty \
       directory; did you mean `spec.worker.spec.volumes[0].secret.secretName`?",
      "spec.worker.spec.volumes[1].pvc: Mistake: Kubernetes has no such field and drops it, so that the volume is an empty directory; \
       did you mean `persistentVolumeClaim`?",
      "spec.worker.spec.volumes[2].size: Kubernetes has no such field and drops it; `kubectl explain` says which there are"])]
#[case::containers_for_debugging(json!({"worker": {"spec": {"ephemeralContainers": [{"name": "debug"}]}}}),
    &["spec.worker.spec.ephemeralContainers: Error: a Pod can't be created with it: write the containers in `containers` or \
       `initContainers`; `kubectl debug` adds one to a Pod that runs"])]
#[case::dask(json!({"wroker": 1}), &[])]
#[case::service(json!({"scheduler": {"service": {"zzz": 1}}}),
    &["spec.scheduler.service.zzz: this release knows no such field of a Service; where the API server knows none either, the \
       Service is not created"])]
#[case::label_beside_the_selector(json!({"scheduler": {"service": {"dask.org/cluster-name": "c"}}}),
    &["spec.scheduler.service.dask.org/cluster-name: Error: a Service has no such field in its spec, and would not be created \
       with it: labels stand in a map such as `selector`, as `selector: {dask.org/cluster-name: …}`"])]
#[case::annotations_of_a_service(json!({"scheduler": {"service": {"annotations": {}}}}),
    &["spec.scheduler.service.annotations: Error: a Service has no such field in its spec, and would not be created with it: \
       labels and annotations for the Service stand in `metadata`, because the cluster's are passed on to it"])]
#[case::name_of_a_service(json!({"scheduler": {"service": {"name": "s"}}}),
    &["spec.scheduler.service.name: Error: a Service has no such field in its spec, and would not be created with it: the \
       Service of a cluster is called as the cluster is, with `-scheduler` behind it"])]
#[case::annotation_of_a_service(json!({"scheduler": {"service": {"annotation": {}}}}),
    &["spec.scheduler.service.annotation: Error: a Service has no such field in its spec, and would not be created with it: \
       labels and annotations for the Service stand in `metadata`, because the cluster's are passed on to it"])]
#[case::manifest_of_a_service(json!({"scheduler": {"service": {"kind": "Service", "spec": {}, "status": {}}}}),
    &["spec.scheduler.service.kind: Error: a Service has no such field in its spec, and would not be created with it: this is the \
       spec of a Service, without its kind and version: leave it out",
      "spec.scheduler.service.spec: Error: a Service has no such field in its spec, and would not be created with it: write what \
       stands in it one level higher, as `spec.scheduler.service.type`",
      "spec.scheduler.service.status: Error: a Service has no such field in its spec, and would not be created with it: Kubernetes \
       writes it: leave it out"])]
#[case::chart_of_a_service(json!({"scheduler": {"service": {"enabled": true, "ingress": {}, "nodePort": 30080, "serviceType": ""}}}),
    &["spec.scheduler.service.enabled: Error: a Service has no such field in its spec, and would not be created with it: a cluster \
       always has a Service: leave it out",
      "spec.scheduler.service.ingress: Error: a Service has no such field in its spec, and would not be created with it: an Ingress \
       is a resource of its own: create one for the Service, which is called as the cluster is, with `-scheduler` behind it",
      "spec.scheduler.service.nodePort: Error: a Service has no such field in its spec, and would not be created with it: each port \
       has its own: write it as `spec.scheduler.service.ports[].nodePort`",
      "spec.scheduler.service.serviceType: Error: a Service has no such field in its spec, and would not be created with it: did you \
       mean `type`?"])]
#[case::beside_its_ports(json!({"scheduler": {"service": {"ports": [{"port": 8786, "type": "NodePort"}]}}}),
    &["spec.scheduler.service.ports[0].type: Error: a Service has no such field in its spec, and would not be created with it: did \
       you mean `spec.scheduler.service.type`?"])]
#[case::type_of_a_service_is_set_already(json!({"scheduler": {"service": {"serviceType": "NodePort", "type": "NodePort"}}}),
    &["spec.scheduler.service.serviceType: Error: a Service has no such field in its spec, and would not be created with it: did you \
       mean `type`, which is there already?"])]
#[case::misspelt_in_a_service(json!({"scheduler": {"service": {"ports": [{"targetport": 1}], "sessionAffinty": ""}}}),
    &["spec.scheduler.service.ports[0].targetport: Error: a Service has no such field in its spec, and would not be created \
       with it: did you mean `targetPort`?",
      "spec.scheduler.service.sessionAffinty: Error: a Service has no such field in its spec, and would not be created with it: \
       did you mean `sessionAffinity`?"])]
fn reports_unknown_fields_of_kubernetes_objects(#[case] spec: Value, #[case] expected: &[&str]) {
    let object = json!({"kind": "DaskCluster", "spec": spec});
    let found: Vec<_> = CrdFields::new()
        .of_kubernetes(DaskKind::Cluster, &object)
        .into_iter()
        .map(|finding| match finding.severity {
            Severity::Error => format!("{}: Error: {}", finding.field, finding.message),
            Severity::Mistake => format!("{}: Mistake: {}", finding.field, finding.message),
            Severity::Warning => format!("{}: {}", finding.field, finding.message),
        })
        .collect();
    assert_eq!(found, expected);
}

/// The API server accepts objects with hundreds of thousands of fields.
#[test]
fn many_unknown_fields_are_counted_and_only_some_are_named() {
    let many: Map<String, Value> = (0..200_000).map(|i| (format!("f{i}"), json!(0))).collect();
    let object = json!({"kind": "DaskCluster", "spec": {"worker": {"spec": many}}});
    let found = CrdFields::new().of_kubernetes(DaskKind::Cluster, &object);
    assert_eq!(found.len(), 101);
    assert_eq!(
        found[100].message,
        "Kubernetes does not have 199900 more of its fields"
    );
}

#[test]
fn long_names_are_not_compared_with_fields() {
    // Without its dashes, the second name is a field.
    for name in ["s".repeat(1 << 20), format!("{}hostname", "-".repeat(100))] {
        let object = json!({"kind": "DaskCluster", "spec": {"worker": {"spec": {name: 1}}}});
        let found = CrdFields::new().of_kubernetes(DaskKind::Cluster, &object);
        let message = &found[0].message;
        assert!(message.ends_with("`kubectl explain` says which there are"));
    }
}

/// Each unknown name is compared with each field of a container, so that the number of these names is limited.
#[test]
fn a_missing_field_is_compared_with_a_limited_number_of_names() {
    let missing = |others: usize| {
        let mut container: Map<String, Value> = (0..others).map(|i| (format!("f{i}"), json!(0))).collect();
        container.insert("nmae".to_owned(), json!("a"));
        let spec = json!({"worker": {"spec": {"containers": [container]}}});
        let found = CrdFields::new().values(DaskKind::Cluster, &json!({"spec": spec}));
        found[0].message.clone()
    };
    assert_eq!(
        missing(MAX_FINDINGS - 1),
        "it is missing: write `name` in place of `nmae`"
    );
    assert_eq!(missing(MAX_FINDINGS), "it is missing: write text");
}

#[rstest]
#[case::fine(json!({"suspend": true, "schedulerUpdate": "Recreate", "worker": {"replicas": 0, "updateStrategy": {"maxSurge": "5%"}}}), &[])]
#[case::nothing(json!({"suspend": null, "worker": null}), &[])]
#[case::boolean(json!({"suspend": "yes"}), &["spec.suspend: \"yes\" can't be used: write `true` or `false`, without quotes"])]
#[case::enum_value(json!({"schedulerUpdate": "recreate"}),
    &["spec.schedulerUpdate: \"recreate\" can't be used: write `OnDelete` or `Recreate`"])]
#[case::number(json!({"worker": {"drainTimeoutSeconds": 1.5}}),
    &["spec.worker.drainTimeoutSeconds: 1.5 can't be used: write a whole number"])]
#[case::negative(json!({"idleTimeout": -1}), &["spec.idleTimeout: -1 can't be used: write 0 or more"])]
#[case::int_or_string(json!({"worker": {"updateStrategy": {"maxSurge": true}}}),
    &["spec.worker.updateStrategy.maxSurge: true can't be used: write a whole number or text"])]
#[case::an_object(json!({"worker": [1]}), &["spec.worker: [1] can't be used: write an object"])]
#[case::large(json!({"worker": {"replicas": 2_147_483_648_u64}}), &[])]
fn reports_invalid_values_of_dask_fields(#[case] spec: Value, #[case] expected: &[&str]) {
    let object = json!({"kind": "DaskCluster", "spec": spec});
    let found: Vec<_> = CrdFields::new()
        .values(DaskKind::Cluster, &object)
        .into_iter()
        .map(|finding| format!("{}: {}", finding.field, finding.message))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn reports_values_above_the_maximum() {
    let object = json!({"kind": "DaskAutoscaler", "spec": {"scaleUp": {"windowSeconds": 3601}}});
    let found = CrdFields::new().values(DaskKind::Autoscaler, &object);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].field, "spec.scaleUp.windowSeconds");
    assert_eq!(found[0].message, "3601 can't be used: write 3600 or less");
}

/// Values in the Pod spec of a worker that has one container.
#[rstest]
#[case::fine(json!({"terminationGracePeriodSeconds": 30.0, "nodeSelector": {"gpu": "yes"}, "volumes": [{"name": "a", "emptyDir":
    {"sizeLimit": "1Gi"}}, {"name": "b", "emptyDir": {"sizeLimit": 1}}], "fieldOfTheFuture": 1, "imagePullSecrets": [null]}), &[])]
#[case::boolean(json!({"hostNetwork": "true"}), &["hostNetwork: \"true\" can't be used: write `true` or `false`, without quotes"])]
#[case::number(json!({"terminationGracePeriodSeconds": "60"}),
    &["terminationGracePeriodSeconds: \"60\" is text, and must be a number: write 60 without quotes"])]
#[case::unit(json!({"terminationGracePeriodSeconds": "60s"}),
    &["terminationGracePeriodSeconds: \"60s\" can't be used: write a whole number"])]
#[case::fraction(json!({"securityContext": {"fsGroup": 1000.5}}), &["securityContext.fsGroup: 1000.5 can't be used: write a whole number"])]
#[case::large(json!({"priority": 2_147_483_648_u64}), &["priority: 2147483648 can't be used: write 2147483647 or less"])]
#[case::text(json!({"nodeSelector": {"example.com/gpu": true, "zone": 1}}),
    &["nodeSelector.example.com/gpu: it must be text, and YAML takes words such as `no`, `off` and `on` for true or false, here for \
       true: put the one that you mean into quotes",
      "nodeSelector.zone: it must be text: put 1 into quotes, as \"1\""])]
#[case::map(json!({"nodeSelector": "gpu"}), &["nodeSelector: \"gpu\" can't be used: write an object, as `{name: value}`"])]
#[case::name(json!({"imagePullSecrets": ["regcred"]}),
    &["imagePullSecrets[0]: \"regcred\" can't be used: write an object, as `{name: regcred}`"])]
#[case::name_and_value(json!({"initContainers": [{"name": "i", "env": ["A=b"]}]}),
    &["initContainers[0].env[0]: \"A=b\" can't be used: write an object, as `{name: A, value: b}`"])]
#[case::list_of_names(json!({"imagePullSecrets": "regcred"}),
    &["imagePullSecrets: \"regcred\" can't be used: write a list, as `[{name: regcred}]`"])]
#[case::list(json!({"tolerations": {"operator": "Exists"}}),
    &["tolerations: {\"operator\":\"Exists\"} can't be used: write a list, with `- ` before the first field of each of its items"])]
#[case::object(json!({"affinity": []}),
    &["affinity: [] can't be used: write an object with `nodeAffinity` or `podAffinity` or `podAntiAffinity`"])]
#[case::words(json!({"initContainers": [{"name": "i", "lifecycle": {"preStop": {"exec": {"command": "sleep 5"}}}}]}),
    &["initContainers[0].lifecycle.preStop.exec.command: \"sleep 5\" can't be used: write a list, as `[\"sleep\", \"5\"]`"])]
#[case::quantity(json!({"volumes": [{"name": "a", "emptyDir": {"sizeLimit": 0.5}}]}),
    &["volumes[0].emptyDir.sizeLimit: 0.5 can't be used: write a whole number, or put it into quotes, as \"0.5\""])]
#[case::missing(json!({"initContainers": [{"name": "i", "readinessProbe": {"httpGet": {"path": "/"}}, "volumeMounts": [{"mountPath": "/d"}]}]}),
    &["initContainers[0].readinessProbe.httpGet.port: it is missing: write a whole number or text",
      "initContainers[0].volumeMounts[0].name: it is missing: write text"])]
#[case::missing_under_another_name(json!({"volumes": [{"name": "a", "persistentVolumeClaim": {"name": "data"}}]}),
    &["volumes[0].persistentVolumeClaim.claimName: it is missing: write `claimName` in place of `name`"])]
#[case::duplicate(json!({"initContainers": [{"name": "i", "ports": [{"containerPort": 1}, {"containerPort": 1, "protocol": "UDP"},
    {"containerPort": 1, "protocol": "TCP"}]}]}),
    &["initContainers[0].ports[2]: there is another one with `containerPort: 1` and `protocol: TCP`: take one of them out"])]
fn reports_invalid_values_of_pods(#[case] pod: Value, #[case] expected: &[&str]) {
    let mut pod = pod;
    pod["containers"] = json!([{"name": "w"}]);
    let object = json!({"kind": "DaskCluster", "spec": {"worker": {"spec": pod}}});
    let expected: Vec<_> = expected
        .iter()
        .map(|message| format!("spec.worker.spec.{message}"))
        .collect();
    let found: Vec<_> = CrdFields::new()
        .values(DaskKind::Cluster, &object)
        .into_iter()
        .map(|finding| format!("{}: {}", finding.field, finding.message))
        .collect();
    assert_eq!(found, expected);
}

#[rstest]
#[case::port(json!({"port": "8786"}), "port: \"8786\" is text, and must be a number: write 8786 without quotes")]
#[case::no_port(json!({"name": "a"}), "port: it is missing: write a whole number")]
fn reports_invalid_values_of_services(#[case] port: Value, #[case] expected: &str) {
    let object = json!({"kind": "DaskCluster", "spec": {"scheduler": {"service": {"ports": [port]}}}});
    let found = CrdFields::new().values(DaskKind::Cluster, &object);
    let found: Vec<_> = found
        .into_iter()
        .map(|finding| format!("{}: {}", finding.field, finding.message))
        .collect();
    assert_eq!(found, [format!("spec.scheduler.service.ports[0].{expected}")]);
}

#[test]
fn the_number_of_errors_about_values_is_limited() {
    let object = json!({"kind": "DaskCluster", "spec": {"worker": {"spec": {"containers": [], "imagePullSecrets": vec![1; 1000]}}}});
    let found = CrdFields::new().values(DaskKind::Cluster, &object);
    assert_eq!(found.len(), MAX_FINDINGS + 1);
    assert_eq!(found[MAX_FINDINGS].field, "spec");
}

/// Expected objects are those that a cluster of Kubernetes 1.36 stored.
#[rstest]
#[case::field(json!({"worker": null, "idleTimeout": null}), json!({}))]
#[case::value_of_a_map(json!({"worker": {"metadata": {"labels": {"a": null, "b": "c"}}}}), json!({"worker": {"metadata": {"labels": {"b": "c"}}}}))]
#[case::in_a_pod(json!({"worker": {"spec": {"containers": [{"name": "w", "env": null}, null]}}}),
    json!({"worker": {"spec": {"containers": [{"name": "w"}, null]}}}))]
#[case::unknown(json!({"worker": {"spec": {"zzz": null}}}), json!({"worker": {"spec": {"zzz": null}}}))]
fn nulls_are_removed_as_by_the_api_server(#[case] spec: Value, #[case] expected: Value) {
    let mut object = json!({"kind": "DaskCluster", "spec": spec});
    CrdFields::new().prune_nulls(DaskKind::Cluster, &mut object);
    assert_eq!(object["spec"], expected);
}
