{{/*
What the operator does in a namespace, and no more. Server-side apply of an object that is not there yet takes create and patch. The
comment before a rule says why: docs/rights.md has it.
*/}}
{{- define "dask.rules" -}}
{{- $components := include "dask.components" . | fromJson -}}
# It makes the clusters of jobs and the worker groups of clusters, changes and deletes them; one that has been idle for long, too.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskworkergroups]
  verbs: [list, watch, create, patch, delete]
# People make them; it takes the marks of its predecessor off, and deletes a job `ttlSecondsAfterFinished` after its end.
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs]
  verbs: [list, watch, patch, delete]
# People make them; it takes the marks of its predecessor off.
- apiGroups: [kubernetes.dask.org]
  resources: [daskautoscalers]
  verbs: [list, watch, patch]
# It says how things are, and an autoscaler sets how many workers a group has.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/status, daskworkergroups/status, daskjobs/status, daskautoscalers/status, daskworkergroups/scale]
  verbs: [patch]
# References of children to their owners block an owner's deletion; some clusters (OpenShift) ask for this right then.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/finalizers, daskworkergroups/finalizers, daskjobs/finalizers]
  verbs: [update]
# Schedulers, workers and the runners of jobs.
- apiGroups: [""]
  resources: [pods, services]
  verbs: [list, watch, create, patch, delete]
# The same, with the setting `workload: deployment`.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
# What `kubectl describe` shows.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# Components that people name for their namespace.
- apiGroups: [kubernetes.dask.org]
  resources: [daskplugins]
  verbs: [list, watch]
# It says of them what is loaded, and why not.
- apiGroups: [kubernetes.dask.org]
  resources: [daskplugins/status]
  verbs: [patch]
{{- if include "dask.readsConfigMaps" . }}
# Plugin resources name them as the source of a component; not where `configmap` is in neither list of allowed sources.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end }}
{{- with .Values.plugins.pullSecrets }}
# With `plugins.pullSecrets`: those that plugin resources may name to pull from a registry.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson . }}
  verbs: [get]
{{- end }}
{{- if $components }}
# With components of your own in `plugins`: what these may create beside that.
- apiGroups: [kubernetes.dask.org]
  resources: [daskautoscalers]
  verbs: [create, delete]
# The same.
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
# The same.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
# The same.
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end }}
