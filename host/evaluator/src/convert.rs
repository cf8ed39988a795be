//! Conversion between the contract's types and the types of the gate, which do not depend on WebAssembly.

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan;
use dask_operator_runtime::contract;

/// Converts a component's plan into the gate's type.
#[must_use]
pub fn plan(plan: contract::Plan) -> plan::Plan {
    plan::Plan {
        children: plan.children.into_iter().map(child).collect(),
        status: plan.status,
        conditions: plan.conditions.into_iter().map(condition).collect(),
        events: plan.events.into_iter().map(event).collect(),
        owner: plan.owner.map(|owner| plan::Owner {
            kind: plan::ResourceKind::new(owner.api_version, owner.kind),
            name: owner.name,
            uid: owner.uid,
        }),
        scale: plan
            .scale
            .into_iter()
            .map(|scale| plan::Scale {
                worker_group: scale.worker_group,
                replicas: scale.replicas,
            })
            .collect(),
        delete_parent: plan.delete_parent,
        requeue_after: plan.requeue_after,
        scheduler: plan.scheduler.map(scheduler),
    }
}

/// Converts a Dask kind into the contract's type.
#[must_use]
pub fn dask_kind(kind: DaskKind) -> contract::ResourceKind {
    contract::ResourceKind {
        api_version: DASK_API_VERSION.to_owned(),
        kind: kind.kind().to_owned(),
    }
}

/// Converts a kind from the gate's type into the contract's type.
#[must_use]
pub fn contract_kind(kind: &plan::ResourceKind) -> contract::ResourceKind {
    contract::ResourceKind {
        api_version: kind.api_version.clone(),
        kind: kind.kind.clone(),
    }
}

/// Converts a kind from the contract's type into the gate's type.
#[must_use]
pub fn kind(kind: contract::ResourceKind) -> plan::ResourceKind {
    plan::ResourceKind::new(kind.api_version, kind.kind)
}

/// Converts the key of a child into the gate's type.
#[must_use]
pub fn child_key(key: contract::ChildKey) -> plan::ChildKey {
    plan::ChildKey {
        kind: plan::ResourceKind::new(key.api_version, key.kind),
        name: key.name,
    }
}

fn child(child: contract::DesiredChild) -> plan::DesiredChild {
    plan::DesiredChild {
        key: child_key(child.key),
        action: match child.action {
            contract::ChildAction::Keep => plan::Action::Keep,
            contract::ChildAction::Create(object) => plan::Action::Create(object),
            contract::ChildAction::Copy(index) => plan::Action::Copy(index as usize),
            contract::ChildAction::Apply(object) => plan::Action::Apply(object),
        },
    }
}

/// Converts a condition into the gate's type.
#[must_use]
pub fn condition(condition: contract::Condition) -> plan::DesiredCondition {
    plan::DesiredCondition {
        type_: condition.type_,
        status: match condition.status {
            contract::ConditionStatus::True => plan::ConditionStatus::True,
            contract::ConditionStatus::False => plan::ConditionStatus::False,
            contract::ConditionStatus::Unknown => plan::ConditionStatus::Unknown,
        },
        reason: condition.reason,
        message: condition.message,
    }
}

fn scheduler(request: contract::SchedulerRequest) -> plan::SchedulerRequest {
    let question = |question| match question {
        contract::SchedulerQuestion::Workers => plan::SchedulerQuestion::Workers,
        contract::SchedulerQuestion::Demand => plan::SchedulerQuestion::Demand,
        contract::SchedulerQuestion::Idle => plan::SchedulerQuestion::Idle,
    };
    plan::SchedulerRequest {
        questions: request.questions.into_iter().map(question).collect(),
        period: request.period,
        target_duration: request.target_duration,
        tls: request.tls,
        retire: request.retire,
    }
}

fn event(event: contract::Event) -> plan::Event {
    plan::Event {
        type_: match event.type_ {
            contract::EventType::Normal => plan::EventType::Normal,
            contract::EventType::Warning => plan::EventType::Warning,
        },
        reason: event.reason,
        message: event.message,
    }
}
