//! Checks of the Service in front of a scheduler.

use serde_json::{Map, Value};

use super::{Checks, container, join, kind};
use crate::dask::address::{self, COMM_PORT, DASHBOARD_PORT, DEFAULT_COMM_PORT, DEFAULT_DASHBOARD_PORT};
use crate::dask::fields;
use crate::dask::main_container;
use crate::dask::metadata::Metadata;
use crate::dask::resource::items;
use crate::dask::role::Role;

impl Checks {
    /// Checks the Service in front of a scheduler whose pod has these labels. `is_called` is true if the workers call the
    /// Service and nothing else.
    pub(super) fn service(&mut self, service: &Value, path: &str, labels: &Metadata, is_called: bool) {
        if service["type"] == "ExternalName" {
            return;
        }
        let field = join(path, "ports");
        let remedy = format!("add one named `{COMM_PORT}` with `port: 8786`");
        match &service["ports"] {
            Value::Array(ports) if !ports.is_empty() => self.ports(service, ports, &field, is_called),
            Value::Null | Value::Array(_) if is_headless(service) => self.warning(
                field,
                format!("Python's KubeCluster finds the scheduler by the name of a port, and there is none: {remedy}"),
            ),
            Value::Null | Value::Array(_) => {
                self.error(field, format!("the Service has no ports: {remedy}"));
            }
            other => self.error(
                field,
                format!("it must be a list of ports, and {} stands there", kind(other)),
            ),
        }
        for (name, value) in service["selector"].as_object().into_iter().flatten() {
            let field = format!("{}.{name}", join(path, "selector"));
            match labels.labels.get(name) {
                Some(label) if value == label => {}
                Some(label) => {
                    self.mistake(
                        field,
                        format!("it selects no scheduler of this cluster: write `{name}: {label}`"),
                    );
                }
                None => self.warning(
                    field,
                    "the scheduler's pod has no such label, unless something else adds it: put it into \
                     `spec.scheduler.metadata.labels` or take it out here",
                ),
            }
        }
    }

    /// Checks that the scheduler's pod has the target ports of its Service. `is_only_way` is true if the Service selects the
    /// pod and the workers call nothing else.
    pub(super) fn target_ports(&mut self, scheduler: &Value, path: &str, is_only_way: bool) {
        let (service, pod_spec) = (
            &scheduler[fields::scheduler::SERVICE],
            &scheduler[fields::template::SPEC],
        );
        let ports = items(&service["ports"]);
        // A headless Service resolves to the pod itself, with all its ports.
        let looks_for_ports = !is_headless(service) && !has_manual_endpoints(service);
        for (at, port) in ports.iter().enumerate() {
            let Some(target) = port["targetPort"].as_str() else {
                continue;
            };
            let field = format!("{path}.service.ports[{at}].targetPort");
            if let Some(message) = container::number_as_text(target) {
                self.error(field, message);
            } else if looks_for_ports
                && pod_spec["containers"].is_array()
                && !container::names_port(pod_spec, target)
            {
                let main = main_container::position(pod_spec, Role::Scheduler);
                let number = &port["port"];
                let message = format!(
                    "no container of the scheduler has a port of the name `{target}`, so that no client could reach it: write \
                     the number, {number} perhaps, or name it in `{path}.spec.containers[{main}].ports`"
                );
                // Without the port of Dask's protocol no worker ever joins. Without another port only a feature is missing.
                if is_only_way && number.as_u64() == Some(address::comm_port(service)) {
                    self.error(field, message);
                } else {
                    self.mistake(field, message);
                }
            }
        }
    }

    fn ports(&mut self, service: &Value, ports: &[Value], path: &str, is_called: bool) {
        self.port_numbers(ports, path);
        if !ports.iter().all(Value::is_object) {
            return;
        }
        let names = |name: &str| ports.iter().any(|port| port["name"] == name);
        let is_dashboard = |port: &Value| {
            let name = port["name"].as_str().unwrap_or_default();
            port["port"] == DEFAULT_DASHBOARD_PORT || name.contains("dashboard")
        };
        if let Some(at) = ports.iter().position(is_dashboard)
            && !names(DASHBOARD_PORT)
        {
            self.warning(
                format!("{path}[{at}].name"),
                format!("Python's KubeCluster finds the dashboard by the name of the port: write `{DASHBOARD_PORT}`"),
            );
        }
        if names(COMM_PORT) {
            return;
        }
        let remedy = format!("name the port of Dask's protocol `{COMM_PORT}`");
        if is_headless(service) || ports.iter().any(|port| port["port"] == DEFAULT_COMM_PORT) {
            self.warning(
                path,
                format!("Python's KubeCluster finds the scheduler by the name of the port: {remedy}"),
            );
        } else if is_called {
            self.error(
                path,
                format!("workers would not find the scheduler, because no port is named as the scheduler's: {remedy}"),
            );
        } else {
            self.mistake(
                path,
                format!(
                    "no port says that it is the scheduler's, so that only clients that know its address find it: {remedy}"
                ),
            );
        }
    }

    /// Checks the numbers of a Service's ports.
    fn port_numbers(&mut self, ports: &[Value], path: &str) {
        for (at, port) in ports.iter().enumerate() {
            let number = &port["port"];
            if !port.is_object() {
                self.error(
                    format!("{path}[{at}]"),
                    format!(
                        "a port must be an object, and {} stands there: write one as `{{name: tcp-comm, port: 8786}}`",
                        kind(port)
                    ),
                );
            } else if !number
                .as_u64()
                .is_some_and(|number| (1..=65535).contains(&number))
            {
                let what = match number {
                    Value::Null => "a port needs a number".to_owned(),
                    number => format!("{number} can't be used"),
                };
                self.error(
                    format!("{path}[{at}].port"),
                    format!("{what}: write one from 1 to 65535, as `port: 8786`"),
                );
            }
        }
    }
}

/// Returns whether a Service certainly selects pods with these labels. A Service without a selector gets one by
/// defaulting.
pub(super) fn selects(service: &Value, labels: &Metadata) -> bool {
    let mut selector = service["selector"].as_object().into_iter().flatten();
    !has_manual_endpoints(service)
        && selector.all(|(name, value)| labels.labels.get(name).is_some_and(|label| value == label))
}

/// Returns whether a Service is headless: its name resolves to the pods, with all their ports.
pub(super) fn is_headless(service: &Value) -> bool {
    service["clusterIP"] == "None"
}

/// Returns whether a Service selects no pods and its endpoints are managed by the user.
pub(super) fn has_manual_endpoints(service: &Value) -> bool {
    let selects_nothing = service["selector"].as_object().is_some_and(Map::is_empty);
    selects_nothing || service["type"] == "ExternalName"
}
