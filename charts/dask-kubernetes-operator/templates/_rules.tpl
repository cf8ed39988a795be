{{/*
Permissions of the operator in a namespace. Server-side apply of an object that does not exist yet needs create and patch. The comment
before a rule is the reason for it, and is copied to docs/rights.md.
*/}}
{{- define "dask.rules" -}}
{{- $components := include "dask.components" . | fromJson -}}
# The operator creates, changes and deletes the clusters of jobs and the worker groups of clusters. It also deletes idle clusters.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskworkergroups]
  verbs: [list, watch, create, patch, delete]
# Users create jobs. The operator removes the markers of dask-kubernetes, and deletes a job `ttlSecondsAfterFinished` after its end.
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs]
  verbs: [list, watch, patch, delete]
# Users create autoscalers. The operator removes the markers of dask-kubernetes.
- apiGroups: [kubernetes.dask.org]
  resources: [daskautoscalers]
  verbs: [list, watch, patch]
# The operator writes the status, and an autoscaler sets the number of workers of a group.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/status, daskworkergroups/status, daskjobs/status, daskautoscalers/status, daskworkergroups/scale]
  verbs: [patch]
# Owner references of child objects block the deletion of their owner. Some clusters (OpenShift) require this permission for that.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/finalizers, daskworkergroups/finalizers, daskjobs/finalizers]
  verbs: [update]
# Schedulers, workers and the runners of jobs.
- apiGroups: [""]
  resources: [pods, services]
  verbs: [list, watch, create, patch, delete]
# Schedulers and workers with the setting `workload: deployment`.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
# Events that `kubectl describe` shows.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# Plugins of a namespace.
- apiGroups: [kubernetes.dask.org]
  resources: [daskplugins]
  verbs: [list, watch]
# The status reports the loaded version, or why none is loaded.
- apiGroups: [kubernetes.dask.org]
  resources: [daskplugins/status]
  verbs: [patch]
{{- if include "dask.readsConfigMaps" . }}
# Sources of plugins. Absent if `configmap` is in neither list of allowed sources.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end }}
{{- with .Values.plugins.pullSecrets }}
# Image pull Secrets that plugins may reference, from `plugins.pullSecrets`.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson . }}
  verbs: [get]
{{- end }}
{{- if $components }}
# Further kinds for your own components in `plugins`.
- apiGroups: [kubernetes.dask.org]
  resources: [daskautoscalers]
  verbs: [create, delete]
# Further kinds for your own components in `plugins`.
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
# Further kinds for your own components in `plugins`.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
# Further kinds for your own components in `plugins`.
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end }}
