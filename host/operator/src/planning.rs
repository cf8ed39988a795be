//! First half of a reconcile: observes the resource, calls the component and the policies, checks their answers, and
//! computes the changes that have to be written.
//!
//! The cost of all this grows with the input of tenants and their components, so none of it runs on the threads that
//! serve requests.

mod weight;

use std::collections::HashSet;
use std::sync::Arc;

use dask_operator_core::category::Retry;
use dask_operator_core::finish::finish;
use dask_operator_core::gate::{self, CheckedPlan, Limits, Observed as _, Rules};
use dask_operator_core::parent::Parent;
use dask_operator_core::plan::{ChildKey, ResourceKind};
use dask_operator_render::convert;
use dask_operator_render::policy::{Mode, Policy};
use dask_operator_runtime::contract::{self, ChildAction, Observation, Plan};
use k8s_openapi::jiff::Timestamp;

use crate::changes::{Change, changes};
use crate::kinds::ExtraKinds;
use crate::object::Object;
use crate::observe::Observed;
use crate::plugins::{Plugin, PluginError, Plugins, Subject};
use crate::reconcile::Reconciler;
use crate::reconcile::memory::Memory;
use crate::reconcile::room::{NoRoom, Share};
use crate::recording::Recording;
use crate::routes::ParentKey;
use crate::schedulers::{ClusterKey, Schedulers};
use crate::stores::Stores;
use crate::threads::Load;
use crate::trouble::{HOST_CONDITIONS, PLAN_REFUSED, POLICY_VIOLATED, Trouble};
use weight::text_bytes;

/// Input of a plan, against which the plan is also checked.
pub(crate) struct Ground {
    /// Resource that owns the planned children.
    pub(crate) parent: Parent,
    /// Observed state.
    pub(crate) observed: Observed,
    /// Time of the observation, in milliseconds since 1970.
    now: i64,
    plugin: Arc<Plugin>,
    policies: Vec<Arc<Policy>>,
    extra: ExtraKinds,
}

/// A plan that passed the gate.
pub(crate) struct Planned {
    /// Input of the plan.
    pub(crate) ground: Arc<Ground>,
    /// The plan without its children.
    pub(crate) plan: CheckedPlan,
    /// Number of planned children.
    pub(crate) children: usize,
    /// Changes that have to be written.
    pub(crate) to_do: Vec<Change>,
    /// Violations that policies in monitor mode reported.
    pub(crate) remarks: Option<Trouble>,
    /// Memory reserved for the plan until it has been executed.
    pub(crate) share: Share,
}

/// Reason why there is no plan.
pub(crate) enum Unplanned {
    /// The resource, the component or a policy has a problem.
    Trouble(Trouble),
    /// The memory that the plan needs is in use by others.
    NoRoom,
}

impl From<Trouble> for Unplanned {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<NoRoom> for Unplanned {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

/// Input of a call to a component.
struct Question {
    ground: Ground,
    /// Observation that the component receives.
    observation: Observation,
    /// Memory reserved for the input.
    share: Share,
}

/// Result of the first check of a plan.
enum First {
    /// The plan passed the gate.
    Passed(Box<Planned>),
    /// The plan passed the gate, and policies must review it.
    ToReview(Box<Plan>, Share),
}

/// Sources of the input for a component.
struct Look {
    key: ParentKey,
    stores: Stores,
    plugins: Arc<Plugins>,
    schedulers: Schedulers,
    extra: ExtraKinds,
    recording: Recording,
    most_told: usize,
}

impl Reconciler {
    /// Calls the component and the policies, and checks their answers. Also returns the resource as they saw it.
    /// `share` is the memory that is reserved so far.
    pub(crate) async fn plan(
        &self,
        key: &ParentKey,
        object: Arc<Object>,
        share: Share,
    ) -> (Arc<Object>, Result<Planned, Unplanned>) {
        let look = Look {
            key: key.clone(),
            stores: self.stores.clone(),
            plugins: self.plugins.clone(),
            schedulers: self.schedulers.clone(),
            extra: self.extra_kinds.clone(),
            recording: self.recording.clone(),
            most_told: self.most_told,
        };
        let memory = self.memory.clone();
        let load = load(&share, &object.json);
        let looked = self.aside.run(&key.namespace, load, move || {
            let object = memory.over(object);
            (object.clone(), look.question(object, share))
        });
        let (object, question) = looked.await;
        let planned = match question {
            Ok(question) => self.answer(key, question).await,
            Err(why) => Err(why),
        };
        (object, planned)
    }

    async fn answer(&self, key: &ParentKey, question: Question) -> Result<Planned, Unplanned> {
        let Question {
            ground,
            observation,
            mut share,
        } = question;
        let ground = Arc::new(ground);
        let load = load(&share, &ground.observed.parent.json);
        let plan = self
            .ask(&ground.plugin, &key.namespace, load, observation)
            .await?;
        // The number of plans that wait for their check must be limited.
        let text = text_bytes(&plan);
        share.extend(text)?;
        let first = {
            let (ground, memory) = (ground.clone(), self.memory.clone());
            self.aside
                .run(&key.namespace, load, move || ground.first(plan, &memory, share))
                .await?
        };
        let (mut plan, mut share) = match first {
            First::Passed(planned) => return Ok(*planned),
            First::ToReview(plan, share) => (*plan, share),
        };
        // The JSON trees are dropped until the plan has passed the review.
        share.lend(text);
        let children = std::mem::take(&mut plan.children);
        let (policies, parent) = (ground.policies.clone(), ground.observed.parent.json.clone());
        let reviewed = self
            .plugins
            .review(policies, key, load, parent, children, ground.now)
            .await;
        let reviewed = reviewed.map_err(Trouble::review)?;
        plan.children = reviewed.children;
        let remarks = Trouble::remarks(&reviewed.remarks);
        let memory = self.memory.clone();
        let titles = ground.all_titles();
        self.aside
            .run(&key.namespace, load, move || {
                ground.passed(plan, &titles, remarks, &memory, share)
            })
            .await
    }

    async fn ask(
        &self,
        plugin: &Arc<Plugin>,
        namespace: &str,
        load: Load,
        observation: Observation,
    ) -> Result<Plan, Trouble> {
        let answer = self.plugins.plan(plugin, namespace, load, observation).await;
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

/// Returns the load of a reconcile of a resource with this text.
fn load(share: &Share, text: &str) -> Load {
    if share.bytes() > 0 {
        Load::Heavy
    } else {
        Load::of(text.len())
    }
}

impl Look {
    /// Gathers the input for the component.
    fn question(&self, object: Arc<Object>, mut share: Share) -> Result<Question, Unplanned> {
        let parent = object.parent(self.key.kind);
        let parent = parent.map_err(|error| Trouble::invalid(error.to_string()))?;
        let (plugin, policies) = self.deciders(&object)?;
        tracing::Span::current().record("plugin", &plugin.title);
        self.are_listed(&plugin)?;
        let mut observed = Observed::new(&self.stores, object, &parent, &plugin.child_kinds);
        let cluster = ClusterKey::new(&parent.namespace, &parent.cluster);
        let bytes = observed.bytes();
        if bytes > self.most_told {
            return Err(Trouble::too_large(&plugin.title, self.most_told).into());
        }
        observed.scheduler = self.schedulers.state(&cluster, &self.key);
        // The component has a copy of the scheduler's facts.
        let told = bytes + observed.parent.json.len() + 2 * observed.scheduler_bytes();
        share.extend(told)?;
        let ground = Ground {
            parent,
            observed,
            now: Timestamp::now().as_millisecond(),
            plugin,
            policies,
            extra: self.extra.clone(),
        };
        let observation = ground.observation(&self.key, &self.recording);
        Ok(Question {
            ground,
            observation,
            share,
        })
    }

    /// Returns the logic plugin and the policies that apply to a resource.
    fn deciders(&self, object: &Object) -> Result<(Arc<Plugin>, Vec<Arc<Policy>>), Trouble> {
        let labels = object.labels();
        let subject = Subject {
            kind: self.key.kind,
            namespace: &self.key.namespace,
            labels: &labels,
        };
        let catalog = self.plugins.catalog();
        let plugin = catalog.logic(&subject).map_err(|error| Trouble::plugin(&error))?;
        let policies = catalog
            .policies(&subject)
            .map_err(|error| Trouble::plugin(&error))?;
        Ok((plugin, policies))
    }

    /// Checks that the children of every kind that a component declares are listed: a component would regard children
    /// that it can't see as missing.
    fn are_listed(&self, plugin: &Plugin) -> Result<(), Trouble> {
        let listings = self.stores.listings();
        for kind in &plugin.child_kinds {
            if let Some(why) = listings.hindrance(kind, &self.key.namespace) {
                return Err(Trouble::not_listed(&plugin.title, kind, &why));
            }
        }
        Ok(())
    }
}

impl Ground {
    /// Returns the observation for the component. It is recorded for plugin authors, if they enabled that.
    fn observation(&self, key: &ParentKey, recording: &Recording) -> Observation {
        let observation = self
            .observed
            .observation(&self.parent, self.now, &self.plugin.settings);
        recording.observation(key.kind.kind(), &key.namespace, &key.name, &observation);
        observation
    }

    /// Checks the plan of the component.
    fn first(self: &Arc<Self>, plan: Plan, memory: &Memory, mut share: Share) -> Result<First, Unplanned> {
        let title = &self.plugin.title;
        let remarks = if self.policies.is_empty() {
            None
        } else if writes(&plan, &self.observed) {
            share.extend(self.weight(&plan))?;
            // Policies review only plans that pass the gate, so that they are not blamed for an error of the component.
            self.check(plan.clone(), title)?;
            return Ok(First::ToReview(Box::new(plan), share));
        } else {
            let monitors = self.policies.iter().any(|policy| policy.mode == Mode::Monitor);
            monitors.then(|| still_said(&self.observed.parent)).flatten()
        };
        let planned = self.passed(plan, title, remarks, memory, share)?;
        Ok(First::Passed(Box::new(planned)))
    }

    /// Checks a plan, and computes the changes that have to be written for it.
    fn passed(
        self: &Arc<Self>,
        plan: Plan,
        whose: &str,
        remarks: Option<Trouble>,
        memory: &Memory,
        mut share: Share,
    ) -> Result<Planned, Unplanned> {
        let weight = self.weight(&plan);
        share.extend(weight)?;
        // The observation has been dropped.
        share.reduce(weight);
        let mut plan = self.check(plan, whose)?;
        let children: Vec<_> = std::mem::take(&mut plan.children)
            .into_iter()
            .map(|child| finish(&self.parent, child))
            .collect();
        let uids = self.observed.all().map(|(_, object)| &*object.uid);
        let answers = memory.lock().answers.of(uids);
        Ok(Planned {
            ground: self.clone(),
            plan,
            children: children.len(),
            to_do: changes(&self.observed, children, &answers),
            remarks,
            share,
        })
    }

    fn check(&self, plan: Plan, whose: &str) -> Result<CheckedPlan, Trouble> {
        let rules = Rules {
            declared: &self.plugin.child_kinds,
            extra: self.extra.of(self.plugin.is_of_tenant()),
            host_conditions: &HOST_CONDITIONS,
            limits: Limits::default(),
        };
        let checked = gate::check(&self.parent, &rules, &self.observed, convert::plan(plan));
        checked.map_err(|refusal| Trouble {
            condition: PLAN_REFUSED,
            reason: "RuleBroken".into(),
            message: format!("{whose}: {refusal}"),
            is_fatal: false,
            retry: Retry::BackOff,
        })
    }

    /// Returns the titles of the component and of the policies that may have changed its plan.
    fn all_titles(&self) -> String {
        let titles: Vec<_> = self.policies.iter().map(|policy| policy.title.as_str()).collect();
        format!("{}, changed by {}", self.plugin.title, titles.join(", "))
    }
}

/// Returns the key of a child.
fn key(child: &contract::DesiredChild) -> ChildKey {
    ChildKey {
        kind: ResourceKind::new(child.key.api_version.as_str(), child.key.kind.as_str()),
        name: child.key.name.clone(),
    }
}

/// Returns whether a plan would write something: children to apply, children to create that do not exist, existing
/// children that are not in the plan, or changes other than children.
fn writes(plan: &Plan, observed: &Observed) -> bool {
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

/// Returns the violations that policies in monitor mode reported about an earlier plan: they still apply to the objects
/// of that plan.
fn still_said(parent: &Object) -> Option<Trouble> {
    let value = parent.without_spec();
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
