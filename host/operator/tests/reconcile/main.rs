//! Reconciles against a mock API server: the requests that are sent, and the handling of the answers.

mod agreement;
mod children;
mod endings;
mod failures;
mod loops;
mod reports;
mod scale;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dask_operator_core::category::Retry;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_evaluator::logic::Failure;
use dask_operator_host::controller::Controller;
use dask_operator_host::health::Health;
use dask_operator_host::kinds::Kind;
use dask_operator_host::kopf;
use dask_operator_host::leading::Leading;
use dask_operator_host::plugins::PluginError;
use dask_operator_host::reconcile::Outcome;
use dask_operator_host::routes::ParentKey;
use dask_operator_host::store::Change;
use dask_operator_host::stores::Stores;
use dask_operator_host::watches::Watcher as _;
use dask_operator_host::writes::Writes;
use dask_operator_runtime::contract::{
    self, Answer, ChildAction, Event, EventType, Finding, Observation, Owner, Plan, Scale, Severity,
};
use rstest::rstest;
use serde_json::{Value, json};

use world::*;
