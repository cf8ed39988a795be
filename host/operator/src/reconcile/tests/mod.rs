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

use crate::cache::Stores;
use crate::cache::store::ObjectChange;
use crate::cache::watch::Watcher as _;
use crate::client::resource::ResourceType;
use crate::client::writer::Writer;
use crate::controller::Controller;
use crate::controller::metrics::ControllerMetrics;
use crate::health::Health;
use crate::key::ParentKey;
use crate::leader_election::leadership::Leadership;
use crate::metrics::Registry;
use crate::plugins::PluginError;
use crate::reconcile::Outcome;
use crate::reconcile::kopf;
use dask_operator_core::api_error::RetryPolicy;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_evaluator::logic::PluginFailure;
use dask_operator_runtime::contract::{
    self, Answer, ChildAction, Event, EventType, Finding, Observation, Plan, Scale, Severity,
};
use rstest::rstest;
use serde_json::{Value, json};

use world::*;
