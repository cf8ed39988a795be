//! Accepts images from trusted registries only.
//!
//! The policy rewrites images of public registries to a mirror and refuses images from registries that are not allowed. It
//! does both at admission, where the author sees the refusal, and in plans, which can contain images that are not in any
//! manifest.

mod image;

use dask_operator_plugin::dask::pods::{pod_spec_mut, pods};
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

/// Settings of the plugin.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(
    crate = "dask_operator_plugin::serde",
    default,
    deny_unknown_fields,
    rename_all = "camelCase"
)]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// Registries, folders of registries or single images that may be used, such as `ghcr.io/dask`. If the list is empty,
    /// every image may be used. A rewritten image is checked under its new name.
    pub allowed: Vec<String>,
    /// Rewrites of image names. The first one that applies is used.
    pub rewrite: Vec<Rewrite>,
    /// Refuse images without a tag and images with the tag `latest`, because these names can refer to another image later.
    pub fixed_tags: bool,
}

/// A registry, folder or image and its replacement.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "dask_operator_plugin::serde", deny_unknown_fields)]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Rewrite {
    /// The original, such as `docker.io`. An image without a registry belongs to `docker.io`.
    pub from: String,
    /// The replacement, such as `registry.example.com/docker-hub`.
    pub to: String,
}

/// The policy component.
#[derive(Debug)]
pub struct TrustedImages;

impl Plugin for TrustedImages {
    const NAME: &str = "trusted-images";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str =
        "Rewrites images to mirrors and refuses images from registries that are not allowed.";
    type Settings = Settings;

    fn check_settings(settings: &Settings) -> Vec<Finding> {
        let allowed = settings
            .allowed
            .iter()
            .enumerate()
            .map(|(i, place)| (format!("allowed[{i}]"), place));
        let rewrite = settings.rewrite.iter().enumerate().flat_map(|(i, rewrite)| {
            [
                (format!("rewrite[{i}].from"), &rewrite.from),
                (format!("rewrite[{i}].to"), &rewrite.to),
            ]
        });
        let mut findings = Vec::new();
        for (field, place) in allowed.chain(rewrite) {
            if place.is_empty() || place.contains(['*', ' ']) || place.contains("://") {
                let message = format!(
                    "{place:?} can't be used: write a registry, as `ghcr.io`, a folder of one, as `ghcr.io/dask`, or an image"
                );
                findings.push(Finding::error(field, message));
            }
        }
        findings
    }
}

/// Returns the new name of an image, if a rewrite applies, and the problem with the image, if there is one.
fn judge(image: &str, settings: &Settings) -> (Option<String>, Option<String>) {
    let renamed = image::rewrite(image, &settings.rewrite);
    let used = renamed.as_deref().unwrap_or(image);
    let allowed = &settings.allowed;
    let problem = if !allowed.is_empty() && !allowed.iter().any(|place| image::is_from(used, place)) {
        let places: Vec<_> = allowed.iter().map(|place| place.trim_end_matches('/')).collect();
        Some(format!(
            "the image {used} may not be used: take one from {}",
            places.join(", ")
        ))
    } else if settings.fixed_tags && image::is_mutable(used) {
        Some(format!(
            "the image {used} is something else tomorrow: write a tag other than `latest`, or a digest"
        ))
    } else {
        None
    };
    (renamed, problem)
}

impl Policy for TrustedImages {
    fn admit(request: &AdmissionRequest, settings: &Settings) -> Result<AdmissionResponse, String> {
        if request.operation == Operation::Delete {
            return Ok(AdmissionResponse::allow());
        }
        let check = |object: &Value| -> Result<_, String> {
            let (mut changes, mut findings) = (Changes::of(object), Vec::new());
            for container in pods(&request.kind.kind, object)
                .iter()
                .flat_map(|pod| pod.all_containers())
            {
                let Some(image) = container.value["image"].as_str() else {
                    continue;
                };
                let (renamed, problem) = judge(image, settings);
                if let Some(renamed) = renamed {
                    changes.set(&format!("{}/image", container.pointer), renamed)?;
                }
                findings.extend(
                    problem.map(|problem| Finding::error(format!("{}.image", container.field), problem)),
                );
            }
            Ok((changes, findings))
        };
        let before = match request.old_json()? {
            Some(old) => check(&old)?.1,
            None => Vec::new(),
        };
        let (changes, findings) = check(&request.object_json()?)?;
        Ok(AdmissionResponse::of_new_findings(findings, &before).with_changes(&changes))
    }

    fn review_plan(request: &ReviewRequest, settings: &Settings) -> Result<Review, String> {
        let (mut changed, mut findings) = (Vec::new(), Vec::new());
        for child in &request.children {
            let Some(mut object) = child.action.object_json()? else {
                continue;
            };
            let Some(pod_spec) = pod_spec_mut(&child.key.kind, &mut object) else {
                continue;
            };
            let mut is_changed = false;
            for list in ["initContainers", "containers"] {
                for container in pod_spec[list].as_array_mut().into_iter().flatten() {
                    let Some(image) = container["image"].as_str() else {
                        continue;
                    };
                    let (renamed, problem) = judge(image, settings);
                    if let Some(renamed) = renamed {
                        container["image"] = json!(renamed);
                        is_changed = true;
                    }
                    let problem =
                        problem.map(|problem| format!("{} {}: {problem}", child.key.kind, child.key.name));
                    findings.extend(problem.map(|problem| Finding::error("", problem)));
                }
            }
            if is_changed {
                let action = child.action.with(&object);
                changed.push(DesiredChild {
                    key: child.key.clone(),
                    action,
                });
            }
        }
        Ok(match (findings.is_empty(), changed.is_empty()) {
            (false, _) => Review::Refuse(findings),
            (true, false) => Review::Change(changed),
            (true, true) => Review::Allow,
        })
    }
}

export!(TrustedImages: policy);

#[cfg(test)]
mod tests {
    use dask_operator_plugin::dask::kinds;

    use super::*;

    fn settings() -> Settings {
        Settings {
            allowed: vec!["registry.example.com".to_owned(), "ghcr.io/dask/".to_owned()],
            rewrite: vec![Rewrite {
                from: "docker.io".to_owned(),
                to: "registry.example.com/hub".to_owned(),
            }],
            fixed_tags: false,
        }
    }

    fn group(image: &str) -> String {
        json!({"spec": {"worker": {"spec": {
            "initContainers": [{"image": "ghcr.io/dask/dask:1"}],
            "containers": [{"image": image}],
        }}}})
        .to_string()
    }

    fn admit(image: &str, old: Option<&str>, settings: &Settings) -> AdmissionResponse {
        let request = AdmissionRequest {
            kind: kinds::worker_group(),
            operation: if old.is_some() {
                Operation::Update
            } else {
                Operation::Create
            },
            object: group(image),
            old: old.map(group),
            user_info: "{}".to_owned(),
            dry_run: false,
            settings: "{}".to_owned(),
        };
        TrustedImages::admit(&request, settings).expect("a response")
    }

    fn refusal(response: &AdmissionResponse) -> Option<(&str, &str)> {
        match &response.verdict {
            Verdict::Refuse(findings) => findings
                .first()
                .map(|first| (first.field.as_str(), first.message.as_str())),
            Verdict::Allow | Verdict::Patch(_) => None,
        }
    }

    #[test]
    fn rewrites_images_in_manifests() {
        let patch = json!([{
            "op": "replace",
            "path": "/spec/worker/spec/containers/0/image",
            "value": "registry.example.com/hub/daskdev/dask:1",
        }]);
        assert_eq!(
            admit("daskdev/dask:1", None, &settings()),
            AdmissionResponse::patch(&patch)
        );
        assert_eq!(
            admit("ghcr.io/dask/dask:1", None, &settings()),
            AdmissionResponse::allow()
        );
    }

    #[test]
    fn refuses_other_images() {
        let refused = admit("quay.io/me/dask:1", None, &settings());
        assert_eq!(
            refusal(&refused),
            Some((
                "spec.worker.spec.containers[0].image",
                "the image quay.io/me/dask:1 may not be used: take one from registry.example.com, ghcr.io/dask"
            ))
        );
        let update = admit("quay.io/me/dask:1", Some("quay.io/me/dask:1"), &settings());
        assert_eq!(
            (refusal(&update), update.warnings.len()),
            (None, 1),
            "existing images cause a warning"
        );
        let strict = Settings {
            fixed_tags: true,
            ..Settings::default()
        };
        assert!(refusal(&admit("a/b", None, &strict)).is_some());
        assert!(refusal(&admit("a/b:1", None, &strict)).is_none());
    }

    #[test]
    fn reviews_images_in_plans() {
        let review = |image: &str| {
            let pod = json!({"spec": {"containers": [{"image": image}]}});
            let request = ReviewRequest {
                parent_kind: kinds::worker_group(),
                parent: "{}".to_owned(),
                children: vec![
                    DesiredChild {
                        key: kinds::pod().key("kept"),
                        action: ChildAction::Keep,
                    },
                    DesiredChild::create(kinds::pod().key("new"), pod),
                    DesiredChild::apply(kinds::service().key("service"), json!({"spec": {}})),
                ],
                now: 0,
                settings: "{}".to_owned(),
            };
            TrustedImages::review_plan(&request, &settings()).expect("a review")
        };
        assert_eq!(review("ghcr.io/dask/dask:1"), Review::Allow);
        let Review::Change(children) = review("python:3") else {
            panic!("the image is not rewritten")
        };
        let object = children[0]
            .action
            .object_json()
            .expect("JSON")
            .expect("an object");
        assert_eq!(
            object["spec"]["containers"][0]["image"],
            "registry.example.com/hub/library/python:3"
        );
        let Review::Refuse(findings) = review("quay.io/x") else {
            panic!("the image is not refused")
        };
        assert!(
            findings[0]
                .message
                .starts_with("Pod new: the image quay.io/x may not"),
            "{findings:?}"
        );
    }

    #[test]
    fn reports_each_invalid_setting() {
        let settings = Settings {
            allowed: vec![
                "https://ghcr.io".to_owned(),
                "ghcr.io/*".to_owned(),
                "ghcr.io".to_owned(),
            ],
            rewrite: vec![Rewrite {
                from: String::new(),
                to: "x".to_owned(),
            }],
            fixed_tags: false,
        };
        let fields: Vec<_> = TrustedImages::check_settings(&settings)
            .into_iter()
            .map(|finding| finding.field)
            .collect();
        assert_eq!(fields, ["allowed[0]", "allowed[1]", "rewrite[0].from"]);
    }
}
