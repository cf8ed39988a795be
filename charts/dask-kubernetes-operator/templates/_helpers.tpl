{{/* Names and labels, as in the chart of dask-kubernetes. */}}
{{- define "dask.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "dask.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dask.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dask.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dask.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dask.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "dask.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "dask.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "dask.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag }}
{{- printf "%s%s%s" .Values.image.name (hasPrefix "sha256:" $tag | ternary "@" ":") $tag }}
{{- end }}

{{/* Scope of the operator as JSON: {"cluster": has permissions for the whole cluster, "namespaces": managed namespaces, empty for all}. */}}
{{- define "dask.scope" -}}
{{- $given := include "dask.arguments" . | fromJson }}
{{- $namespaces := .Values.namespaces | default $given.namespaces }}
{{- if and .Values.namespaces $given.namespaces }}
{{- fail "Namespaces are named by `namespaces` and by kopfArgs (--namespace): leave one of them out." }}
{{- end }}
{{- $cluster := and .Values.rbac.cluster (not .Values.namespaces) }}
{{- if and .Values.namespaceSelector $namespaces }}
{{- fail "Namespaces are chosen by `namespaceSelector` and named by `namespaces` or kopfArgs (--namespace): leave one of them out." }}
{{- end }}
{{- if and .Values.namespaceSelector (not $cluster) }}
{{- fail "To choose namespaces by their labels (`namespaceSelector`) takes rights in the whole cluster: set `rbac.cluster` to true, or name the namespaces in `namespaces`." }}
{{- end }}
{{- if and (not $cluster) (not $namespaces) }}
{{- $namespaces = list .Release.Namespace }}
{{- end }}
{{- dict "cluster" $cluster "namespaces" ($namespaces | uniq) | toJson }}
{{- end }}

{{/* "true" if the release has a webhook, else empty. */}}
{{- define "dask.webhook" -}}
{{- $scope := include "dask.scope" . | fromJson }}
{{- if and .Values.webhook.enabled (or $scope.cluster .Values.webhook.namespaced) }}true{{ end }}
{{- end }}

{{/* Name of the webhook's Service, and of the Secret with its certificates. */}}
{{- define "dask.webhookName" -}}
{{- printf "%s-webhook" (include "dask.fullname" . | trunc 55 | trimSuffix "-") }}
{{- end }}

{{/* Name of the webhook's configurations, which are cluster-scoped. */}}
{{- define "dask.webhookConfiguration" -}}
{{- printf "%s-%s" .Release.Namespace (include "dask.fullname" .) }}
{{- end }}

{{/* Namespace selector of the webhook's configurations. */}}
{{- define "dask.webhookNamespaces" -}}
{{- $scope := include "dask.scope" . | fromJson }}
{{- $expressions := list }}
{{- with $scope.namespaces }}
{{- $expressions = append $expressions (dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" .) }}
{{- end }}
{{- $exempt := .Values.webhook.exemptNamespaces }}
{{- if not (has .Release.Namespace $scope.namespaces) }}
{{- $exempt = prepend $exempt .Release.Namespace | uniq }}
{{- end }}
{{- with $exempt }}
{{- $expressions = append $expressions (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" .) }}
{{- end }}
{{- range $label, $value := .Values.namespaceSelector.matchLabels }}
{{- $expressions = append $expressions (dict "key" $label "operator" "In" "values" (list $value)) }}
{{- end }}
{{- $expressions = concat $expressions (.Values.namespaceSelector.matchExpressions | default list) }}
{{- $given := .Values.webhook.namespaceSelector }}
{{- with concat $expressions ($given.matchExpressions | default list) }}
matchExpressions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $given.matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Common fields of the entries in the webhook's configurations. Takes a list of the root context and "Mutating" or "Validating". */}}
{{- define "dask.webhookEntry" -}}
{{- $root := first . }}
{{- $mutating := eq (last .) "Mutating" }}
{{- with $root -}}
admissionReviewVersions: [v1]
sideEffects: None
failurePolicy: {{ .Values.webhook.failurePolicy }}
timeoutSeconds: {{ .Values.webhook.timeoutSeconds | int }}
clientConfig:
  service:
    name: {{ include "dask.webhookName" . }}
    namespace: {{ .Release.Namespace }}
    path: {{ ternary "/mutate" "/validate" $mutating }}
    port: 443
{{- end }}
{{- end }}

{{/* Files that replace the default components, by kind, as JSON. */}}
{{- define "dask.components" -}}
{{- pick .Values.plugins "cluster" "worker-group" "job" "autoscaler" | toJson }}
{{- end }}

{{/* "true" if plugins may have ConfigMaps as their source, else empty. A release for some namespaces sees no ClusterDaskPlugins. */}}
{{- define "dask.readsConfigMaps" -}}
{{- $scope := include "dask.scope" . | fromJson }}
{{- $allowed := .Values.plugins.allowTenantSources | default (list "configmap") }}
{{- if $scope.cluster }}
{{- $allowed = concat $allowed (.Values.plugins.allowSources | default (list "*")) }}
{{- end }}
{{- if or (has "configmap" $allowed) (has "*" $allowed) }}true{{ end }}
{{- end }}
