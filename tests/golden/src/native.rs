//! The default logic as native code, with the same trait as components.

use std::fmt;
use std::marker::PhantomData;

use dask_operator_evaluator::logic::{LogicInterface, PluginFailure};
use dask_operator_plugin::{Logic as PluginLogic, contract as guest, export};
use dask_operator_runtime::contract::{Answer, Error, Finding, Observation, Plan, ResourceKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Native logic of interface `I`, implemented by plugin `P`.
pub struct Native<I, P>(PhantomData<fn() -> (I, P)>);

impl<I, P> Native<I, P> {
    /// Returns the logic.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<I, P> Default for Native<I, P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, P> fmt::Debug for Native<I, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Native")
    }
}

/// Converts between the types of the two sides of the contract, host and guest, which serialise to the same JSON.
///
/// # Errors
///
/// Returns an error if the types of the two sides differ.
pub fn across<T: DeserializeOwned>(value: &impl Serialize) -> Result<T, PluginFailure> {
    Ok(serde_json::from_value(serde_json::to_value(value)?)?)
}

/// Converts the answer of a guest function to the host's types.
fn answer<T, U: DeserializeOwned>(answer: Result<T, guest::Error>) -> Result<Answer<U>, PluginFailure>
where
    T: Serialize,
{
    Ok(match answer {
        Ok(value) => Ok(across(&value)?),
        Err(error) => Err(across::<Error>(&error)?),
    })
}

impl<I, P: PluginLogic<I>> LogicInterface for Native<I, P> {
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, PluginFailure> {
        across(&export::child_kinds::<I, P>(settings))
    }

    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, PluginFailure> {
        answer(export::default::<I, P>(object, settings))
    }

    fn validate(
        &self,
        object: &str,
        old: Option<&str>,
        settings: &str,
    ) -> Result<Vec<Finding>, PluginFailure> {
        across(&export::validate::<I, P>(object, old, settings))
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        answer(export::plan::<I, P>(&across(observation)?))
    }
}
