//! First half of a reconcile: observes the resource, calls the component and the policies, checks their answers, and
//! computes the changes that have to be written.
//!
//! The cost of all this grows with the input of tenants and their components, so none of it runs on the threads that
//! serve requests.

mod weight;

use std::sync::Arc;

use dask_operator_core::category::Retry;
use dask_operator_core::conditions::POLICY_VIOLATED;
use dask_operator_core::finish::finish;
use dask_operator_core::gate::CheckedPlan;
use dask_operator_core::parent::Parent;
use dask_operator_core::plan::{ChildKey, ResourceKind};
use dask_operator_evaluator::Evaluator;
use dask_operator_evaluator::logic::LogicPlugin;
use dask_operator_evaluator::plan::{Checked, Reviewable, ReviewedPlan, Unchecked};
use dask_operator_evaluator::policy::Mode;
use dask_operator_runtime::contract::{self, Observation};
use k8s_openapi::jiff::Timestamp;

use crate::cache::Stores;
use crate::client::object::Object;
use crate::key::ClusterKey;
use crate::key::ParentKey;
use crate::plugins::{Plugins, Subject};
use crate::reconcile::Reconciler;
use crate::reconcile::diff::{Change, changes};
use crate::reconcile::memory::Memory;
use crate::reconcile::observe::Observed;
use crate::reconcile::problem::Trouble;
use crate::reconcile::room::{NoRoom, Share};
use crate::recording::Recording;
use crate::schedulers::Schedulers;
use crate::threads::Load;
use weight::text_bytes;

/// Input of a plan, against which the plan is also checked.
pub(crate) struct Ground {
    /// Resource that owns the planned children.
    pub(crate) parent: Parent,
    /// Observed state.
    pub(crate) observed: Observed,
    /// Time of the observation, in milliseconds since 1970.
    now: i64,
    evaluator: Evaluator,
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
    ToReview(Box<Reviewable>, Share),
}

/// Sources of the input for a component.
struct Look {
    key: ParentKey,
    stores: Stores,
    plugins: Arc<Plugins>,
    schedulers: Schedulers,
    recording: Recording,
    max_observation_bytes: usize,
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
            recording: self.recording.clone(),
            max_observation_bytes: self.max_observation_bytes,
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
            .plugins
            .plan(&ground.evaluator, &key.namespace, load, observation)
            .await
            .map_err(Trouble::plan)?;
        // The number of plans that wait for their check must be limited.
        let text = text_bytes(plan.plan());
        share.extend(text)?;
        let first = {
            let (ground, memory) = (ground.clone(), self.memory.clone());
            self.aside
                .run(&key.namespace, load, move || ground.first(plan, &memory, share))
                .await?
        };
        let (reviewable, mut share) = match first {
            First::Passed(planned) => return Ok(*planned),
            First::ToReview(reviewable, share) => (reviewable, share),
        };
        // The JSON trees are dropped until the plan has passed the review.
        share.lend(text);
        let (in_review, children) = reviewable.into_review();
        let policies = ground.evaluator.policies.clone();
        let parent = ground.observed.parent.json.clone();
        let reviewed = self
            .plugins
            .review(policies, key, load, parent, children, ground.now)
            .await;
        let plan = in_review.end(reviewed.map_err(Trouble::review)?);
        let memory = self.memory.clone();
        self.aside
            .run(&key.namespace, load, move || ground.second(plan, &memory, share))
            .await
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
        let evaluator = self.evaluator(&object)?;
        let plugin = &evaluator.logic;
        tracing::Span::current().record("plugin", &plugin.title);
        self.are_listed(plugin)?;
        let mut observed = Observed::new(&self.stores, object, &parent, &plugin.child_kinds);
        let cluster = ClusterKey::new(&parent.namespace, &parent.cluster);
        let bytes = observed.bytes();
        if bytes > self.max_observation_bytes {
            return Err(Trouble::too_large(&plugin.title, self.max_observation_bytes).into());
        }
        observed.scheduler = self.schedulers.state(&cluster, &self.key);
        // The component has a copy of the scheduler's facts.
        let told = bytes + observed.parent.json.len() + 2 * observed.scheduler_bytes();
        share.extend(told)?;
        let ground = Ground {
            parent,
            observed,
            now: Timestamp::now().as_millisecond(),
            evaluator,
        };
        let observation = ground.observation(&self.key, &self.recording);
        Ok(Question {
            ground,
            observation,
            share,
        })
    }

    /// Returns what decides about a resource.
    fn evaluator(&self, object: &Object) -> Result<Evaluator, Trouble> {
        let labels = object.labels();
        let subject = Subject {
            kind: self.key.kind,
            namespace: &self.key.namespace,
            labels: &labels,
        };
        let evaluator = self.plugins.evaluator(&subject);
        evaluator.map_err(|error| Trouble::plugin(&error))
    }

    /// Checks that the children of every kind that a component declares are listed: a component would regard children
    /// that it can't see as missing.
    fn are_listed(&self, plugin: &LogicPlugin) -> Result<(), Trouble> {
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
            .observation(&self.parent, self.now, &self.evaluator.logic.settings);
        recording.observation(key.kind.kind(), &key.namespace, &key.name, &observation);
        observation
    }

    /// Checks the plan of the component.
    fn first(
        self: &Arc<Self>,
        plan: Unchecked,
        memory: &Memory,
        mut share: Share,
    ) -> Result<First, Unplanned> {
        let weight = self.weight(plan.plan());
        share.extend(weight)?;
        let checked = plan.check(&self.evaluator, &self.parent, &self.observed);
        let plan = match checked.map_err(Trouble::plan)? {
            Checked::ToReview(reviewable) => return Ok(First::ToReview(Box::new(reviewable), share)),
            Checked::Passed(plan) => plan,
        };
        // The observation has been dropped.
        share.reduce(weight);
        let mut policies = self.evaluator.policies.iter();
        let monitors = policies.any(|policy| policy.mode == Mode::Monitor);
        let remarks = monitors
            .then(|| previous_remarks(&self.observed.parent))
            .flatten();
        Ok(First::Passed(Box::new(
            self.planned(plan, remarks, memory, share),
        )))
    }

    /// Checks the plan as the policies left it.
    fn second(
        self: &Arc<Self>,
        plan: ReviewedPlan,
        memory: &Memory,
        mut share: Share,
    ) -> Result<Planned, Unplanned> {
        let weight = self.weight(plan.plan());
        share.extend(weight)?;
        // The observation has been dropped.
        share.reduce(weight);
        let checked = plan.check(&self.evaluator, &self.parent, &self.observed);
        let (plan, remarks) = checked.map_err(Trouble::plan)?;
        Ok(self.planned(plan, Trouble::remarks(&remarks), memory, share))
    }

    /// Computes the changes that have to be written for a plan.
    fn planned(
        self: &Arc<Self>,
        mut plan: CheckedPlan,
        remarks: Option<Trouble>,
        memory: &Memory,
        share: Share,
    ) -> Planned {
        let children: Vec<_> = std::mem::take(&mut plan.children)
            .into_iter()
            .map(|child| finish(&self.parent, child))
            .collect();
        let uids = self.observed.all().map(|(_, object)| &*object.uid);
        let answers = memory.lock().answers.of(uids);
        Planned {
            ground: self.clone(),
            plan,
            children: children.len(),
            to_do: changes(&self.observed, children, &answers),
            remarks,
            share,
        }
    }
}

/// Returns the key of a child.
fn key(child: &contract::DesiredChild) -> ChildKey {
    ChildKey {
        kind: ResourceKind::new(child.key.api_version.as_str(), child.key.kind.as_str()),
        name: child.key.name.clone(),
    }
}

/// Returns the violations that policies in monitor mode reported about an earlier plan: they still apply to the objects
/// of that plan.
fn previous_remarks(parent: &Object) -> Option<Trouble> {
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
