//! The default {{kind}} logic, with an additional label on every child that it plans.

use {{crate}}::{ {{default}}, Settings };
use dask_operator_plugin::prelude::*;

/// The label that every planned child gets.
const LABEL: &str = "example.com/made-by";

/// The {{kind}} component.
#[derive(Debug)]
pub struct {{type}};

impl Plugin for {{type}} {
    const NAME: &str = "{{name}}";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Plans like the default {{kind}} component and labels every child.";
    /// The settings of the default component.
    type Settings = Settings;
}

impl Logic<{{interface}}> for {{type}} {
    fn child_kinds(settings: &Settings) -> Vec<ResourceKind> {
        <{{default}} as Logic<{{interface}}>>::child_kinds(settings)
    }

    fn default(object: Value, settings: &Settings) -> Result<Value, Error> {
        <{{default}} as Logic<{{interface}}>>::default(object, settings)
    }

    fn validate(object: &Value, old: Option<&Value>, settings: &Settings) -> Vec<Finding> {
        <{{default}} as Logic<{{interface}}>>::validate(object, old, settings)
    }

    fn plan(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
        let mut plan = <{{default}} as Logic<{{interface}}>>::plan(observation, settings)?;
        for child in &mut plan.children {
            let Some(mut object) = child.action.object_json().map_err(Error::Failed)? else { continue };
            object["metadata"]["labels"][LABEL] = json!(Self::NAME);
            child.action = child.action.with(&object);
        }
        Ok(plan)
    }
}

export!({{type}}: {{export}});

#[cfg(test)]
mod tests {
    use dask_operator_plugin::testing::Scenario;

    use super::*;

    #[test]
    fn labels_every_child() {
        let scenario = Scenario::of("{{manifest}}"){{related}};
        let plan = scenario.plan::<{{interface}}, {{type}}>().expect("a plan");
        assert!(!plan.0.children.is_empty());
        for child in &plan.0.children {
            // Copies have the labels of their original.
            let Some(object) = child.action.object_json().expect("JSON") else { continue };
            assert_eq!(object["metadata"]["labels"][LABEL], "{{name}}", "{:?}", child.key);
        }
    }
}
