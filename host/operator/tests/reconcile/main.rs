//! Reconciles against a mock API server: the requests that are sent, and the handling of the answers.

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

use dask_operator::controller::Controller;
use dask_operator::health::Health;
use dask_operator::kinds::Kind;
use dask_operator::kopf;
use dask_operator::leading::Leading;
use dask_operator::plugins::PluginError;
use dask_operator::reconcile::Outcome;
use dask_operator::routes::ParentKey;
use dask_operator::store::Change;
use dask_operator::stores::Stores;
use dask_operator::watches::Watcher as _;
use dask_operator::writes::Writes;
use dask_operator_core::category::Retry;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::logic::Failure;
use dask_operator_runtime::contract::{
    self, Answer, ChildAction, Event, EventType, Finding, Observation, Owner, Plan, Scale, Severity,
};
use rstest::rstest;
use serde_json::{Value, json};

use world::*;
