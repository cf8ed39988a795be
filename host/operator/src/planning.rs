//! The first half of a pass: observe, ask the component, ask the policies, check
//! what they say, and find out what has to be written.
//!
//! All of it grows with what tenants and their components write, so nothing of it is
//! done on the threads that carry everything else.

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

/// What a plan is made from, and measured by.
pub(crate) struct Ground {
    /// Whose children it is about.
    pub(crate) parent: Parent,
    /// What there is.
    pub(crate) observed: Observed,
    /// When it was looked at, in milliseconds since 1970.
    now: i64,
    plugin: Arc<Plugin>,
    policies: Vec<Arc<Policy>>,
    extra: ExtraKinds,
}

/// What shall be, checked.
pub(crate) struct Planned {
    /// What it was planned from.
    pub(crate) ground: Arc<Ground>,
    /// What shall be, without the children.
    pub(crate) plan: CheckedPlan,
    /// How many children there shall be.
    pub(crate) children: usize,
    /// What has to be written for them.
    pub(crate) to_do: Vec<Change>,
    /// What policies that only monitor have to say.
    pub(crate) remarks: Option<Trouble>,
    /// The room in memory that it has, until it is carried out.
    pub(crate) share: Share,
}

/// Why there is no plan.
pub(crate) enum Unplanned {
    /// Something is wrong.
    Trouble(Trouble),
    /// It takes memory that others have now.
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

/// What a component is asked.
struct Question {
    ground: Ground,
    /// What it is told.
    observation: Observation,
    /// The room in memory that this has.
    share: Share,
}

/// What becomes of a plan at first.
enum First {
    /// It passed.
    Passed(Box<Planned>),
    /// It passed, and policies have to be asked about it.
    ToReview(Box<Plan>, Share),
}

/// Where to look for what a component is asked about a resource.
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
    /// Asks the component and the policies, and checks what they say. Gives the resource as they saw it, too. `share` is the
    /// room in memory that there is for it so far.
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
        // There must not be ever more of these that wait to be looked at.
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
        // The trees are gone until it has passed.
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

/// How long a pass over a resource takes, of which this is the text.
fn load(share: &Share, text: &str) -> Load {
    if share.bytes() > 0 {
        Load::Heavy
    } else {
        Load::of(text.len())
    }
}

impl Look {
    /// What the component has to be told, and what it is measured by.
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
        // The component has a copy of what the scheduler said.
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

    /// Who decides about a resource.
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

    /// Whether it is known which children there are of every kind that a component declares: from what it can't see, it
    /// would conclude that it is not there.
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
    /// What the component is told. It is recorded for authors of plugins, where they want that.
    fn observation(&self, key: &ParentKey, recording: &Recording) -> Observation {
        let observation = self
            .observed
            .observation(&self.parent, self.now, &self.plugin.settings);
        recording.observation(key.kind.kind(), &key.namespace, &key.name, &observation);
        observation
    }

    /// Checks what the component planned.
    fn first(self: &Arc<Self>, plan: Plan, memory: &Memory, mut share: Share) -> Result<First, Unplanned> {
        let title = &self.plugin.title;
        let remarks = if self.policies.is_empty() {
            None
        } else if writes(&plan, &self.observed) {
            share.extend(self.weight(&plan))?;
            // Policies are asked about what may be, so that nobody is blamed for another's plan.
            self.check(plan.clone(), title)?;
            return Ok(First::ToReview(Box::new(plan), share));
        } else {
            let monitors = self.policies.iter().any(|policy| policy.mode == Mode::Monitor);
            monitors.then(|| still_said(&self.observed.parent)).flatten()
        };
        let planned = self.passed(plan, title, remarks, memory, share)?;
        Ok(First::Passed(Box::new(planned)))
    }

    /// Checks a plan, and finds out what has to be written for it.
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
        // What the component was told is gone.
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

    /// The component, and the policies that may have changed what it planned.
    fn all_titles(&self) -> String {
        let titles: Vec<_> = self.policies.iter().map(|policy| policy.title.as_str()).collect();
        format!("{}, changed by {}", self.plugin.title, titles.join(", "))
    }
}

/// Which child it is.
fn key(child: &contract::DesiredChild) -> ChildKey {
    ChildKey {
        kind: ResourceKind::new(child.key.api_version.as_str(), child.key.kind.as_str()),
        name: child.key.name.clone(),
    }
}

/// Whether a plan would write something: children to apply, children to create that
/// aren't there, children that are there and not in it, or something beside children.
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

/// What policies that only monitor said of an earlier plan: it still holds of what that
/// plan made.
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
