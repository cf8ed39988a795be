//! The first half of a pass: observe, ask the component, ask the policies, check
//! what they say.

use std::collections::HashSet;
use std::sync::Arc;

use dask_operator_core::category::Retry;
use dask_operator_core::gate::{self, CheckedPlan, Limits, Observed as _, Rules};
use dask_operator_core::parent::Parent;
use dask_operator_core::plan::{ChildKey, ResourceKind};
use dask_operator_render::convert;
use dask_operator_render::policy::{Mode, Policy};
use dask_operator_runtime::contract::{self, ChildAction, Observation, Plan};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::object::Object;
use crate::observe::Observed;
use crate::plugins::{Labels, Plugin, PluginError, Subject};
use crate::reconcile::Reconciler;
use crate::routes::ParentKey;
use crate::schedulers::ClusterKey;
use crate::trouble::{HOST_CONDITIONS, PLAN_REFUSED, POLICY_VIOLATED, Trouble};

/// What shall be, checked.
pub(crate) struct Planned {
    /// Whose children it is about.
    pub(crate) parent: Parent,
    /// What it was planned from.
    pub(crate) observed: Observed,
    /// What shall be.
    pub(crate) plan: CheckedPlan,
    /// What policies that only monitor have to say.
    pub(crate) remarks: Option<Trouble>,
}

impl Reconciler {
    /// Asks the component and the policies, and checks what they say.
    pub(crate) async fn plan(
        &self,
        key: &ParentKey,
        object: &Arc<Object>,
        value: &Value,
    ) -> Result<Planned, Trouble> {
        let parent = Parent::from_object(value).map_err(|error| Trouble::invalid(error.to_string()))?;
        let (plugin, policies) = self.deciders(key, value)?;
        tracing::Span::current().record("plugin", &plugin.title);
        self.are_listed(&plugin, &key.namespace)?;
        let mut observed = Observed::new(&self.stores, object.clone(), &parent, &plugin.child_kinds);
        let cluster = ClusterKey::new(&parent.namespace, &parent.cluster);
        if observed.bytes() > self.most_told {
            return Err(Trouble::too_large(&plugin.title, self.most_told));
        }
        observed.scheduler = self.schedulers.state(&cluster, key);
        let now = Timestamp::now().as_millisecond();
        let observation = observed.observation(&parent, now, &plugin.settings);
        let rules = Rules {
            declared: &plugin.child_kinds,
            extra: self.extra_kinds.of(plugin.is_of_tenant),
            host_conditions: &HOST_CONDITIONS,
            limits: Limits::default(),
        };
        let check = |plan: Plan, whose: &str| {
            gate::check(&parent, &rules, &observed, convert::plan(plan)).map_err(|refusal| Trouble {
                condition: PLAN_REFUSED,
                reason: "RuleBroken".into(),
                message: format!("{whose}: {refusal}"),
                is_fatal: false,
                retry: Retry::BackOff,
            })
        };
        if self.recording.is_on() {
            let (recording, key, observation) = (self.recording.clone(), key.clone(), observation.clone());
            // What comes of it is no matter of the plan.
            tokio::task::spawn_blocking(move || {
                recording.observation(key.kind.kind(), &key.namespace, &key.name, &observation);
            });
        }
        let mut plan = self.ask(&plugin, observation).await?;
        let (plan, remarks) = if policies.is_empty() {
            (check(plan, &plugin.title)?, None)
        } else if writes(&plan, &observed) {
            // Policies are asked about what may be, so that nobody is blamed for another's plan.
            check(plan.clone(), &plugin.title)?;
            let titles: Vec<_> = policies.iter().map(|policy| policy.title.as_str()).collect();
            let whose = format!("{}, changed by {}", plugin.title, titles.join(", "));
            let children = std::mem::take(&mut plan.children);
            let parent = object.json.clone();
            let reviewed = self
                .plugins
                .review(policies, key.kind, parent, children, now)
                .await;
            let reviewed = reviewed.map_err(Trouble::review)?;
            plan.children = reviewed.children;
            (check(plan, &whose)?, Trouble::remarks(&reviewed.remarks))
        } else {
            let monitors = policies.iter().any(|policy| policy.mode == Mode::Monitor);
            (
                check(plan, &plugin.title)?,
                still_said(value).filter(|_| monitors),
            )
        };
        Ok(Planned {
            parent,
            observed,
            plan,
            remarks,
        })
    }

    /// Who decides about a resource.
    fn deciders(&self, key: &ParentKey, value: &Value) -> Result<(Arc<Plugin>, Vec<Arc<Policy>>), Trouble> {
        let labels = labels(value);
        let subject = Subject {
            kind: key.kind,
            namespace: &key.namespace,
            labels: &labels,
        };
        let catalog = self.plugins.catalog();
        let plugin = catalog.logic(&subject).map_err(|error| Trouble::plugin(&error))?;
        let policies = catalog
            .policies(&subject)
            .map_err(|error| Trouble::plugin(&error))?;
        Ok((plugin, policies))
    }

    /// Whether it is known which children there are of every kind that a component declares: from what it can't see, it
    /// would conclude that it is not there.
    fn are_listed(&self, plugin: &Plugin, namespace: &str) -> Result<(), Trouble> {
        let listings = self.stores.listings();
        for kind in &plugin.child_kinds {
            if let Some(why) = listings.hindrance(kind, namespace) {
                return Err(Trouble::not_listed(&plugin.title, kind, &why));
            }
        }
        Ok(())
    }

    async fn ask(&self, plugin: &Arc<Plugin>, observation: Observation) -> Result<Plan, Trouble> {
        let answer = self.plugins.plan(plugin, observation).await;
        match answer.map_err(|error| Trouble::plugin(&error))? {
            Ok(plan) => Ok(plan),
            Err(contract::Error::Invalid(findings)) => Err(Trouble::findings(&findings)),
            Err(contract::Error::Failed(text)) => Err(Trouble::plugin(&PluginError {
                title: plugin.title.clone(),
                reason: "PluginGaveUp",
                message: text,
            })),
        }
    }
}

/// The labels of a whole object.
fn labels(value: &Value) -> Labels {
    let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
    labels
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Whether a plan would write something: children to apply, children to create that
/// aren't there, children that are there and not in it, or something beside children.
fn writes(plan: &Plan, observed: &Observed) -> bool {
    let key = |child: &contract::DesiredChild| ChildKey {
        kind: ResourceKind::new(child.key.api_version.as_str(), child.key.kind.as_str()),
        name: child.key.name.clone(),
    };
    let planned: HashSet<ChildKey> = plan.children.iter().map(key).collect();
    let changes = plan.children.iter().any(|child| match child.action {
        ChildAction::Keep => false,
        ChildAction::Create(_) => !observed.has_child(&key(child)),
        ChildAction::Apply(_) => true,
    });
    let deletes = observed.all().any(|(kind, object)| {
        !planned.contains(&ChildKey {
            kind: kind.clone(),
            name: object.name.to_string(),
        })
    });
    changes || deletes || !plan.scale.is_empty() || plan.delete_parent.is_some()
}

/// What policies that only monitor said of an earlier plan: it still holds of what that
/// plan made.
fn still_said(value: &Value) -> Option<Trouble> {
    let conditions = value["status"]["conditions"].as_array()?;
    let said = conditions
        .iter()
        .find(|condition| condition["type"] == POLICY_VIOLATED)?;
    Some(Trouble {
        condition: POLICY_VIOLATED,
        reason: said["reason"].as_str()?.to_owned(),
        message: said["message"].as_str()?.to_owned(),
        is_fatal: false,
        retry: Retry::BackOff,
    })
}
