//! Which component decides for which resource: one snapshot, that is exchanged as
//! a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::policy::Policy;
use kube::core::{Selector, SelectorExt};

use super::{Plugin, PluginError};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What a decision is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The kind of resource.
    pub kind: DaskKind,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
}

/// A (Cluster)DaskPlugin: the namespace it is in (none for one of the cluster), and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginId {
    /// `metadata.namespace`
    pub namespace: Option<String>,
    /// `metadata.name`
    pub name: String,
}

impl std::fmt::Display for PluginId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "DaskPlugin {namespace}/{}", self.name),
            None => write!(f, "ClusterDaskPlugin {}", self.name),
        }
    }
}

/// The resources that a plugin is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Only those in this namespace.
    pub namespace: Option<String>,
    /// Only those in namespaces with such labels.
    pub namespaces: Selector,
    /// Only those with such labels.
    pub labels: Selector,
}

/// A plugin that is in force.
#[derive(Clone)]
pub struct Entry {
    /// Which one.
    pub id: PluginId,
    /// What it is for.
    pub scope: Scope,
    /// Its place: smaller ones come first.
    pub order: i32,
    /// The logic that it has, by the kind that it looks after. One that was in force and
    /// can't be used now is an error: what it looks after is held.
    pub logic: BTreeMap<DaskKind, Result<Arc<Plugin>, PluginError>>,
    /// The policy that it is, likewise.
    pub policy: Option<Result<Arc<Policy>, PluginError>>,
}

impl Entry {
    fn concerns(&self, subject: &Subject<'_>, namespace: &Labels) -> bool {
        let in_place = match &self.scope.namespace {
            Some(wanted) => wanted == subject.namespace,
            None => self.scope.namespaces.matches(namespace),
        };
        in_place && self.scope.labels.matches(subject.labels)
    }
}

/// All components and what they are for.
#[derive(Clone, Default)]
pub struct Catalog {
    /// The logic of each kind where no plugin says otherwise.
    defaults: BTreeMap<DaskKind, Result<Arc<Plugin>, PluginError>>,
    /// Policies from the command line: for all resources, and asked last.
    policies: Vec<Arc<Policy>>,
    entries: Vec<Entry>,
    /// Labels of namespaces, as far as they are known.
    namespaces: BTreeMap<String, Labels>,
}

impl Catalog {
    /// These decide for all resources.
    #[must_use]
    pub fn new(
        defaults: BTreeMap<DaskKind, Result<Arc<Plugin>, PluginError>>,
        policies: Vec<Arc<Policy>>,
    ) -> Self {
        Self {
            defaults,
            policies,
            ..Self::default()
        }
    }

    /// The same with other plugins, for namespaces with these labels.
    #[must_use]
    pub fn with(&self, mut entries: Vec<Entry>, namespaces: BTreeMap<String, Labels>) -> Self {
        entries.sort_by(|one, two| {
            let place = |entry: &Entry| (entry.id.namespace.is_none(), entry.order, entry.id.name.clone());
            place(one).cmp(&place(two))
        });
        Self {
            defaults: self.defaults.clone(),
            policies: self.policies.clone(),
            entries,
            namespaces,
        }
    }

    /// Plugins that concern a resource: those of its namespace, then those of the cluster,
    /// each by order and name.
    fn concerned<'a>(&'a self, subject: &'a Subject<'a>) -> impl Iterator<Item = &'a Entry> {
        // Every namespace has its name as a label, so that one can be chosen by it even
        // where the others aren't known.
        let named = || {
            Labels::from([(
                "kubernetes.io/metadata.name".to_owned(),
                subject.namespace.to_owned(),
            )])
        };
        let namespace = self
            .namespaces
            .get(subject.namespace)
            .cloned()
            .unwrap_or_else(named);
        self.entries
            .iter()
            .filter(move |entry| entry.concerns(subject, &namespace))
    }

    /// The component that decides what a resource consists of.
    ///
    /// # Errors
    ///
    /// When it can't be used.
    pub fn logic(&self, subject: &Subject<'_>) -> Result<Arc<Plugin>, PluginError> {
        let swapped = self
            .concerned(subject)
            .find_map(|entry| entry.logic.get(&subject.kind));
        let missing = || {
            let message = "no component is loaded".to_owned();
            Err(PluginError::unusable(subject.kind.kind(), message))
        };
        swapped
            .or_else(|| self.defaults.get(&subject.kind))
            .cloned()
            .unwrap_or_else(missing)
    }

    /// The policies that are asked about a resource, in that order.
    ///
    /// # Errors
    ///
    /// When one that was in force can't be used now.
    pub fn policies(&self, subject: &Subject<'_>) -> Result<Vec<Arc<Policy>>, PluginError> {
        let stacked = self.concerned(subject).filter_map(|entry| entry.policy.clone());
        stacked.chain(self.policies.iter().cloned().map(Ok)).collect()
    }

    /// The default logic that could not be loaded.
    pub fn broken(&self) -> impl Iterator<Item = &PluginError> {
        self.defaults.values().filter_map(|plugin| plugin.as_ref().err())
    }

    /// The kinds of children of the default logic.
    pub fn child_kinds(&self) -> impl Iterator<Item = &ResourceKind> {
        self.defaults
            .values()
            .flatten()
            .flat_map(|plugin| &plugin.child_kinds)
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_render::logic::{Failure, Logic};
    use dask_operator_render::policy::{Mode, Rules};
    use dask_operator_runtime::contract::{
        self, AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Plan, Review, ReviewRequest,
    };
    use rstest::rstest;

    use super::*;

    struct Nobody;

    impl Logic for Nobody {
        fn child_kinds(&self, _: &str) -> Result<Vec<contract::ResourceKind>, Failure> {
            Ok(Vec::new())
        }

        fn default(&self, object: &str, _: &str) -> Result<Answer<String>, Failure> {
            Ok(Ok(object.to_owned()))
        }

        fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, Failure> {
            Ok(Vec::new())
        }

        fn plan(&self, _: &Observation) -> Result<Answer<Plan>, Failure> {
            Err("not asked".into())
        }
    }

    impl Rules for Nobody {
        fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure> {
            Err("not asked".into())
        }

        fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, Failure> {
            Err("not asked".into())
        }
    }

    fn plugin(title: &str) -> Result<Arc<Plugin>, PluginError> {
        Plugin::new(title.into(), "{}".into(), Box::new(Nobody)).map(Arc::new)
    }

    fn policy(title: &str) -> Arc<Policy> {
        Arc::new(Policy {
            title: title.into(),
            settings: "{}".into(),
            mode: Mode::Protect,
            rules: Box::new(Nobody),
        })
    }

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn selector(text: &str) -> Selector {
        Selector::from_iter(labels(text))
    }

    /// An entry that is logic of clusters and a policy: in a namespace or (`-`) of the cluster.
    fn entry(namespace: &str, name: &str, order: i32, namespaces: &str, selected: &str) -> Entry {
        let namespace = (namespace != "-").then(|| namespace.to_owned());
        Entry {
            id: PluginId {
                namespace: namespace.clone(),
                name: name.into(),
            },
            scope: Scope {
                namespace,
                namespaces: selector(namespaces),
                labels: selector(selected),
            },
            order,
            logic: BTreeMap::from([(DaskKind::Cluster, plugin(name))]),
            policy: Some(Ok(policy(name))),
        }
    }

    fn catalog(entries: Vec<Entry>) -> Catalog {
        let defaults = DaskKind::ALL.map(|kind| (kind, plugin("default")));
        let namespaces = BTreeMap::from([("prod".to_owned(), labels("tier=production"))]);
        Catalog::new(BTreeMap::from(defaults), vec![policy("command line")]).with(entries, namespaces)
    }

    fn decide(catalog: &Catalog, kind: DaskKind, namespace: &str, of: &str) -> (String, Vec<String>) {
        let labels = labels(of);
        let subject = Subject {
            kind,
            namespace,
            labels: &labels,
        };
        let logic = catalog
            .logic(&subject)
            .map_or_else(|error| error.title, |plugin| plugin.title.clone());
        let policies = catalog
            .policies(&subject)
            .unwrap_or_else(|error| panic!("{error}"));
        (
            logic,
            policies.iter().map(|policy| policy.title.clone()).collect(),
        )
    }

    #[rstest]
    #[case::nobody_else(DaskKind::Cluster, "a", "", "z-global", &["z-global", "command line"])]
    #[case::labels(DaskKind::Cluster, "a", "team=x", "m-labelled", &["m-labelled", "z-global", "command line"])]
    #[case::namespaces(DaskKind::Cluster, "prod", "", "y-production", &["y-production", "z-global", "command line"])]
    #[case::own_first(DaskKind::Cluster, "own", "", "b-first", &["b-first", "a-second", "c-second", "z-global", "command line"])]
    #[case::other_kinds(DaskKind::Job, "own", "", "default", &["b-first", "a-second", "c-second", "z-global", "command line"])]
    fn who_decides(
        #[case] kind: DaskKind,
        #[case] namespace: &str,
        #[case] labels: &str,
        #[case] logic: &str,
        #[case] policies: &[&str],
    ) {
        let catalog = catalog(vec![
            entry("-", "z-global", 10, "", ""),
            entry("-", "y-production", 5, "tier=production", ""),
            entry("-", "m-labelled", -5, "", "team=x"),
            entry("own", "c-second", 1, "", ""),
            entry("own", "a-second", 1, "", ""),
            entry("own", "b-first", 0, "", ""),
        ]);
        let (decides, asked) = decide(&catalog, kind, namespace, labels);
        assert_eq!(
            (decides.as_str(), asked),
            (logic, policies.iter().map(|name| (*name).to_owned()).collect())
        );
    }

    #[test]
    fn one_that_was_in_force_holds_what_it_looks_after() {
        let error = PluginError::unusable("gone", "the registry is down".into());
        let held = Entry {
            logic: BTreeMap::from([(DaskKind::Cluster, Err(error.clone()))]),
            policy: Some(Err(error)),
            ..entry("own", "gone", 0, "", "team=x")
        };
        let catalog = catalog(vec![held]);
        let concerned = labels("team=x");
        let subject = |labels| Subject {
            kind: DaskKind::Cluster,
            namespace: "own",
            labels,
        };
        assert!(
            catalog
                .logic(&subject(&concerned))
                .is_err_and(|error| error.title == "gone")
        );
        assert!(catalog.policies(&subject(&concerned)).is_err());
        let none = Labels::new();
        assert!(catalog.logic(&subject(&none)).is_ok() && catalog.policies(&subject(&none)).is_ok());
    }

    #[test]
    fn a_namespace_can_be_chosen_by_its_name_before_its_labels_are_known() {
        let catalog = catalog(vec![entry("-", "named", 0, "kubernetes.io/metadata.name=a", "")]);
        assert_eq!(decide(&catalog, DaskKind::Cluster, "a", "").0, "named");
        assert_eq!(decide(&catalog, DaskKind::Cluster, "b", "").0, "default");
    }
}
