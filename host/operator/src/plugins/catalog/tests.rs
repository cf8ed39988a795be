use std::time::{Duration, Instant};

use dask_operator_evaluator::policy::Mode;
use kube::core::{Expression, Selector};
use rstest::rstest;

use super::*;
use crate::plugins::entry::{NAMESPACE_NAME, Scope};
use crate::plugins::testing::Unused;

fn plugin(title: &str) -> Result<Arc<LogicPlugin>, PluginError> {
    let plugin = LogicPlugin::new(title.into(), "{}".into(), Arc::new(Unused));
    plugin
        .map(Arc::new)
        .map_err(|failure| PluginError::no_answer(title, &failure))
}

fn policy(title: &str) -> Arc<PolicyPlugin> {
    Arc::new(PolicyPlugin {
        title: title.into(),
        settings: "{}".into(),
        mode: Mode::Protect,
        rules: Box::new(Unused),
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

/// An entry with logic of clusters and a policy, in a namespace or (`-`) of the cluster.
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
#[case::cluster_only(DaskKind::Cluster, "a", "", "z-global", &["z-global", "command line"])]
#[case::labels(DaskKind::Cluster, "a", "team=x", "m-labelled", &["m-labelled", "z-global", "command line"])]
#[case::namespaces(DaskKind::Cluster, "prod", "", "y-production", &["y-production", "z-global", "command line"])]
#[case::own_first(DaskKind::Cluster, "own", "", "b-first", &["b-first", "a-second", "c-second", "z-global", "command line"])]
#[case::other_kinds(DaskKind::Job, "own", "", "default", &["b-first", "a-second", "c-second", "z-global", "command line"])]
fn finds_logic_and_policies(
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
    let (decides, found) = decide(&catalog, kind, namespace, labels);
    assert_eq!(
        (decides.as_str(), found),
        (logic, policies.iter().map(|name| (*name).to_owned()).collect())
    );
}

/// Plugins of a namespace don't slow down other namespaces, however large their selectors are.
#[test]
fn selectors_of_other_namespaces_cost_nothing() {
    let expressions = (0..20_000).map(|number| Expression::DoesNotExist(format!("label-{number}")));
    let selects = Selector::from_iter(expressions);
    let entries = (0..20).map(|number| {
        let mut entry = entry("own", &format!("p-{number}"), number, "", "");
        entry.scope.labels = selects.clone();
        entry
    });
    let catalog = catalog(entries.collect());
    let start = Instant::now();
    for _ in 0..1000 {
        assert_eq!(decide(&catalog, DaskKind::Job, "a", "team=x").1, ["command line"]);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(decide(&catalog, DaskKind::Job, "own", "team=x").1.len(), 21);
}

#[rstest]
#[case::of_the_cluster("a", "ClusterDaskPlugin a")]
#[case::of_a_namespace("b", "DaskPlugin")]
#[case::of_another("c", "DaskPlugin")]
#[case::of_the_command_line("command line", "command line")]
#[case::exchanged("d", "gone")]
fn policies_have_few_labels_in_metrics(#[case] title: &str, #[case] expected: &str) {
    let entries = vec![
        entry("-", "a", 0, "", ""),
        entry("own", "b", 0, "", ""),
        entry("other", "c", 0, "", ""),
    ];
    assert_eq!(catalog(entries).label(title), expected);
}

#[test]
fn an_unusable_plugin_that_was_active_blocks_its_scope() {
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

/// Otherwise a namespace could bypass the policies of the cluster with a plugin of its own that can't be used.
#[test]
fn at_admission_other_policies_are_called_beside_an_unusable_one() {
    let error = PluginError::unusable("gone", "the registry is down".into());
    let held = Entry {
        logic: BTreeMap::from([(DaskKind::Cluster, Err(error.clone()))]),
        policy: Some(Err(error)),
        ..entry("own", "gone", 0, "", "")
    };
    let catalog = catalog(vec![held, entry("-", "q", 0, "", "")]);
    let labels = Labels::new();
    let subject = Subject {
        kind: DaskKind::Cluster,
        namespace: "own",
        labels: &labels,
    };
    let (logic, policies) = catalog
        .at_admission(&subject)
        .unwrap_or_else(|error| panic!("{error}"));
    let titles: Vec<_> = policies.iter().map(|policy| policy.title.as_str()).collect();
    assert_eq!(
        (logic.title.as_str(), titles),
        ("gone", vec!["gone", "q", "command line"])
    );
    let said = logic.logic.default("{}", "{}").map_err(|error| error.to_string());
    assert_eq!(said.err().as_deref(), Some("the registry is down"));
}

#[test]
fn finds_namespaces_with_plugins() {
    let logic = Entry {
        policy: None,
        ..entry("b", "logic", 0, "", "")
    };
    let catalog = catalog(vec![
        entry("a", "p", 0, "", ""),
        entry("-", "q", 0, "", ""),
        logic,
    ]);
    let has = ["a", "b", "c"].map(|namespace| catalog.has_plugins_of(namespace));
    assert_eq!(has, [true, true, false]);
}

#[rstest]
#[case::everywhere(None, "a", false)]
#[case::here(Some("a"), "a", false)]
#[case::elsewhere(Some("b"), "a", true)]
fn returns_errors_where_plugins_are_not_known(
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
    assert_eq!(waiting.at_admission(&subject).err().map(said), expected);
    // The next exchange ends it.
    assert!(waiting.with(Vec::new(), BTreeMap::new()).logic(&subject).is_ok());
}

#[test]
fn a_namespace_can_be_selected_by_name_before_its_labels_are_known() {
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
fn distinguishes_policies_of_the_cluster() {
    let logic = Entry {
        policy: None,
        ..entry("-", "logic", 0, "", "")
    };
    let catalog = catalog(vec![
        entry("a", "p", 0, "", ""),
        entry("-", "q", 0, "", ""),
        logic,
    ]);
    let labels = Labels::new();
    let subject = Subject {
        kind: DaskKind::Cluster,
        namespace: "a",
        labels: &labels,
    };
    let policies = catalog
        .policies(&subject)
        .unwrap_or_else(|error| panic!("{error}"));
    let of_cluster = policies.iter().map(|policy| catalog.is_of_cluster(policy));
    assert_eq!(of_cluster.collect::<Vec<_>>(), [false, true, true]);
    assert!(!catalog.is_of_cluster(&policy("q")), "it was in force before");
}

#[test]
fn a_namespace_with_unknown_labels_is_blocked() {
    let in_production = entry("-", "p", 0, "tier=production", "team=x");
    let monitor = Entry {
        logic: BTreeMap::new(),
        policy: Some(Ok(Arc::new(PolicyPlugin {
            mode: Mode::Monitor,
            title: "m".into(),
            settings: "{}".into(),
            rules: Box::new(Unused),
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
        let said = error.map(|error| (error.title, error.reason.as_str()));
        assert_eq!(said, Some(("ClusterDaskPlugin p".to_owned(), "NamespaceUnknown")));
    }
    // A plugin that selects other resources, or forbids nothing, blocks none of these.
    assert!(catalog.logic(&subject(&others)).is_ok());
    assert_eq!(
        catalog.policies(&subject(&others)).map(|policies| policies.len()),
        Ok(1)
    );
}
