//! Which component decides for which resource: one snapshot, that is exchanged as
//! a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::PluginSource;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::policy::{Mode, Policy};
use dask_operator_runtime::Component;
use kube::core::{Selector, SelectorExt};

use super::{Plugin, PluginError};

/// The label that every namespace has: its name.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

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

impl PluginId {
    /// Whether that is what a plugin is called.
    #[must_use]
    pub fn is_title(text: &str) -> bool {
        ["DaskPlugin ", "ClusterDaskPlugin "]
            .into_iter()
            .any(|kind| text.starts_with(kind))
    }
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
    /// Whether it takes more than the names of namespaces to say which those are.
    pub by_labels: bool,
    /// Only those with such labels.
    pub labels: Selector,
}

/// A component that is loaded, whoever it decides for.
#[derive(Clone)]
pub struct Loaded {
    /// Itself.
    pub component: Component,
    /// Where a plugin resource says that it comes from.
    pub source: PluginSource,
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
    /// Its component; none where it can't be used now.
    pub loaded: Option<Loaded>,
}

impl Entry {
    /// Whether a resource is one that it is for, in a namespace with these labels, where they are known.
    fn concerns(&self, subject: &Subject<'_>, labels: Option<&Labels>) -> Result<bool, PluginError> {
        if !self.scope.labels.matches(subject.labels) {
            return Ok(false);
        }
        match (&self.scope.namespace, labels) {
            (Some(wanted), _) => Ok(wanted == subject.namespace),
            (None, Some(labels)) => Ok(self.scope.namespaces.matches(labels)),
            // A namespace that was made a moment ago: to leave this one out would let through what it forbids.
            (None, None) if self.scope.by_labels => Err(PluginError {
                title: self.id.to_string(),
                reason: "NamespaceUnknown",
                message: format!(
                    "it is for namespaces with certain labels, and those of {} are not known yet; try again in a few \
                     seconds",
                    subject.namespace
                ),
            }),
            // Every namespace has its name as a label, so that one can be chosen by it even where the others aren't known.
            (None, None) => {
                let named = Labels::from([(NAMESPACE_NAME.to_owned(), subject.namespace.to_owned())]);
                Ok(self.scope.namespaces.matches(&named))
            }
        }
    }

    /// Whether it forbids nothing, and only tells what it would forbid.
    fn only_monitors(&self) -> bool {
        let monitors = |policy: &Result<Arc<Policy>, PluginError>| {
            policy.as_ref().is_ok_and(|policy| policy.mode == Mode::Monitor)
        };
        self.policy.as_ref().is_some_and(monitors)
    }
}

/// A place whose plugins nobody knows yet: a policy may be among them, and so nothing is decided there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The namespace; none for all.
    pub namespace: Option<String>,
    /// Why they aren't known, and what to do about it.
    pub why: String,
}

/// All components and what they are for.
#[derive(Clone, Default)]
pub struct Catalog {
    /// The logic of each kind where no plugin says otherwise.
    defaults: BTreeMap<DaskKind, Result<Arc<Plugin>, PluginError>>,
    /// Policies from the command line: for all resources, and asked last.
    policies: Vec<Arc<Policy>>,
    /// The components of the default logic.
    components: Vec<Component>,
    entries: Vec<Entry>,
    /// Labels of namespaces, as far as they are known.
    namespaces: BTreeMap<String, Labels>,
    /// Where nothing is decided yet.
    unknown: Vec<Unknown>,
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

    /// The same, whose default logic is of these components.
    #[must_use]
    pub fn made_of(self, components: Vec<Component>) -> Self {
        Self { components, ..self }
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
            components: self.components.clone(),
            entries,
            namespaces,
            unknown: Vec::new(),
        }
    }

    /// The same, but nothing is decided in these places: who asks gets an error.
    #[must_use]
    pub fn without(&self, unknown: Vec<Unknown>) -> Self {
        Self {
            unknown,
            ..self.clone()
        }
    }

    /// Whether the plugins that concern a resource are known.
    fn are_known(&self, subject: &Subject<'_>) -> Result<(), PluginError> {
        let concerns = |unknown: &&Unknown| {
            let namespace = unknown.namespace.as_deref();
            namespace.is_none_or(|namespace| namespace == subject.namespace)
        };
        match self.unknown.iter().find(concerns) {
            None => Ok(()),
            Some(unknown) => Err(PluginError {
                title: "plugins".to_owned(),
                reason: "PluginsUnknown",
                message: unknown.why.clone(),
            }),
        }
    }

    /// The component that decides what a resource consists of: the first of its namespace, or else of the cluster, or else
    /// the default one.
    ///
    /// # Errors
    ///
    /// When it can't be used, or nobody knows yet which one it is.
    pub fn logic(&self, subject: &Subject<'_>) -> Result<Arc<Plugin>, PluginError> {
        self.are_known(subject)?;
        let namespace = self.namespaces.get(subject.namespace);
        for entry in &self.entries {
            if let Some(logic) = entry.logic.get(&subject.kind)
                && entry.concerns(subject, namespace)?
            {
                return logic.clone();
            }
        }
        let missing = || {
            let message = "no component is loaded".to_owned();
            Err(PluginError::unusable(subject.kind.kind(), message))
        };
        self.defaults.get(&subject.kind).cloned().unwrap_or_else(missing)
    }

    /// The policies that are asked about a resource, in that order: those of its namespace, then those of the cluster, each
    /// by order and name, then those of the command line.
    ///
    /// # Errors
    ///
    /// When one that was in force can't be used now, or nobody knows yet which ones there are.
    pub fn policies(&self, subject: &Subject<'_>) -> Result<Vec<Arc<Policy>>, PluginError> {
        self.are_known(subject)?;
        let namespace = self.namespaces.get(subject.namespace);
        let mut policies = Vec::new();
        for entry in &self.entries {
            let Some(policy) = &entry.policy else {
                continue;
            };
            match entry.concerns(subject, namespace) {
                Ok(true) => policies.push(policy.clone()?),
                Ok(false) => {}
                Err(_) if entry.only_monitors() => {}
                Err(error) => return Err(error),
            }
        }
        policies.extend(self.policies.iter().cloned());
        Ok(policies)
    }

    /// Whether a namespace has brought policies along.
    #[must_use]
    pub fn has_policies_of(&self, namespace: &str) -> bool {
        let is_there = |entry: &Entry| entry.id.namespace.as_deref() == Some(namespace);
        self.entries
            .iter()
            .any(|entry| entry.policy.is_some() && is_there(entry))
    }

    /// The component that a plugin with this source and digest would be, where it is certain that it is one that is
    /// loaded already: by its digest, or because the plugin in force comes from there and is not looked up again.
    #[must_use]
    pub fn loaded(&self, id: &PluginId, source: &PluginSource, digest: Option<&str>) -> Option<&Component> {
        let plugins = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry, entry.loaded.as_ref()?)));
        if let Some(digest) = digest {
            let mut all = self
                .components
                .iter()
                .chain(plugins.map(|(_, loaded)| &loaded.component));
            return all.find(|component| component.digest().to_string() == digest);
        }
        let mut same = plugins.filter(|(entry, loaded)| entry.id == *id && loaded.source == *source);
        same.next().map(|(_, loaded)| &loaded.component)
    }

    /// What the policy with this title is called in metrics: after the resource of the cluster that brings it, or by its title
    /// where the command line names it. Those of namespaces, of which there may be any number, have one name together.
    #[must_use]
    pub fn label(&self, title: &str) -> String {
        let is_it = |entry: &&Entry| matches!(&entry.policy, Some(Ok(policy)) if policy.title == title);
        match self.entries.iter().find(is_it).map(|entry| &entry.id) {
            Some(id) if id.namespace.is_none() => id.to_string(),
            Some(_) => "DaskPlugin".to_owned(),
            None if self.policies.iter().any(|policy| policy.title == title) => title.to_owned(),
            None => "gone".to_owned(),
        }
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
                by_labels: !namespaces.is_empty() && !namespaces.starts_with(NAMESPACE_NAME),
                namespaces: selector(namespaces),
                labels: selector(selected),
            },
            order,
            logic: BTreeMap::from([(DaskKind::Cluster, plugin(name))]),
            policy: Some(Ok(policy(name))),
            loaded: None,
        }
    }

    fn catalog(entries: Vec<Entry>) -> Catalog {
        let defaults = DaskKind::ALL.map(|kind| (kind, plugin("default")));
        let namespaces = BTreeMap::from([
            ("a".to_owned(), labels("kubernetes.io/metadata.name=a")),
            ("own".to_owned(), labels("kubernetes.io/metadata.name=own")),
            ("prod".to_owned(), labels("tier=production")),
        ]);
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

    #[rstest]
    #[case::of_the_cluster("a", "ClusterDaskPlugin a")]
    #[case::of_a_namespace("b", "DaskPlugin")]
    #[case::of_another("c", "DaskPlugin")]
    #[case::of_the_command_line("command line", "command line")]
    #[case::exchanged("d", "gone")]
    fn policies_have_few_names_in_metrics(#[case] title: &str, #[case] expected: &str) {
        let entries = vec![
            entry("-", "a", 0, "", ""),
            entry("own", "b", 0, "", ""),
            entry("other", "c", 0, "", ""),
        ];
        assert_eq!(catalog(entries).label(title), expected);
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

    #[rstest]
    #[case::everywhere(None, "a", false)]
    #[case::here(Some("a"), "a", false)]
    #[case::elsewhere(Some("b"), "a", true)]
    fn nothing_is_decided_where_the_plugins_are_not_known(
        #[case] unknown: Option<&str>,
        #[case] namespace: &str,
        #[case] decides: bool,
    ) {
        let unknown = Unknown {
            namespace: unknown.map(str::to_owned),
            why: "they are not listed yet".into(),
        };
        let known = catalog(Vec::new());
        let waiting = known.without(vec![unknown]);
        let labels = Labels::new();
        let subject = Subject {
            kind: DaskKind::Cluster,
            namespace,
            labels: &labels,
        };
        let said = |error: PluginError| error.to_string();
        let expected = if decides {
            None
        } else {
            Some("plugins: they are not listed yet".to_owned())
        };
        assert_eq!(waiting.logic(&subject).err().map(said), expected);
        assert_eq!(waiting.policies(&subject).err().map(said), expected);
        // It ends with the next exchange.
        assert!(waiting.with(Vec::new(), BTreeMap::new()).logic(&subject).is_ok());
    }

    #[test]
    fn a_namespace_can_be_chosen_by_its_name_before_its_labels_are_known() {
        let catalog = catalog(vec![entry(
            "-",
            "named",
            0,
            "kubernetes.io/metadata.name=new",
            "",
        )]);
        assert_eq!(decide(&catalog, DaskKind::Cluster, "new", "").0, "named");
        assert_eq!(decide(&catalog, DaskKind::Cluster, "other", "").0, "default");
    }

    #[test]
    fn plugins_are_told_from_files_by_their_titles() {
        for namespace in ["a", "-"] {
            let title = entry(namespace, "p", 0, "", "").id.to_string();
            assert!(PluginId::is_title(&title), "{title}");
        }
        assert!(!PluginId::is_title("/plugins/DaskPlugin.wasm"));
    }

    #[test]
    fn whose_policies_there_are_is_known() {
        let logic = Entry {
            policy: None,
            ..entry("c", "logic", 0, "", "")
        };
        let catalog = catalog(vec![
            entry("a", "p", 0, "", ""),
            entry("-", "q", 0, "", ""),
            logic,
        ]);
        let has = ["a", "b", "c"].map(|namespace| catalog.has_policies_of(namespace));
        assert_eq!(has, [true, false, false]);
    }

    #[test]
    fn a_namespace_whose_labels_are_not_known_is_held() {
        let in_production = entry("-", "p", 0, "tier=production", "team=x");
        let monitor = Entry {
            logic: BTreeMap::new(),
            policy: Some(Ok(Arc::new(Policy {
                mode: Mode::Monitor,
                title: "m".into(),
                settings: "{}".into(),
                rules: Box::new(Nobody),
            }))),
            ..entry("-", "m", 0, "tier=production", "")
        };
        let catalog = catalog(vec![in_production, monitor]);
        let (concerned, others) = (labels("team=x"), Labels::new());
        let subject = |labels| Subject {
            kind: DaskKind::Cluster,
            namespace: "new",
            labels,
        };
        let of_logic = catalog.logic(&subject(&concerned)).err();
        let of_policies = catalog.policies(&subject(&concerned)).err();
        for error in [of_logic, of_policies] {
            let said = error.map(|error| (error.title, error.reason));
            assert_eq!(said, Some(("ClusterDaskPlugin p".to_owned(), "NamespaceUnknown")));
        }
        // One that selects other resources, or forbids nothing, holds nobody.
        assert!(catalog.logic(&subject(&others)).is_ok());
        assert_eq!(
            catalog.policies(&subject(&others)).map(|policies| policies.len()),
            Ok(1)
        );
    }
}
