{{/* What the operator does in a namespace, and no more. Server-side apply of an object that is not there yet takes create and patch. */}}
{{- define "dask.rules" -}}
{{- $components := include "dask.components" . | fromJson -}}
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskworkergroups]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs, daskautoscalers]
  verbs: [list, watch, patch{{ if $components }}, create, delete{{ end }}]
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/status, daskworkergroups/status, daskjobs/status, daskautoscalers/status, daskworkergroups/scale]
  verbs: [patch]
# References of children to their owners block an owner's deletion; some clusters (OpenShift) ask for this right then.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/finalizers, daskworkergroups/finalizers, daskjobs/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods, services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [kubernetes.dask.org]
  resources: [daskplugins]
  verbs: [list, watch]
- apiGroups: [kubernetes.dask.org]
  resources: [daskplugins/status]
  verbs: [patch]
# Components that plugin resources name.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- with .Values.plugins.pullSecrets }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson . }}
  verbs: [get]
{{- end }}
{{- if $components }}
# What components of one's own may create beside that.
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end }}
