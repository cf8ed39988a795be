{{/*
Parsed `kopfArgs` as JSON: {"namespaces": [...], "others": [...]}. Fails with a message for arguments that the operator does not accept,
and for those that the chart itself sets. The value of an argument may follow "=" or be the next entry.
*/}}
{{- define "dask.arguments" -}}
{{- $short := dict "-A" "--all-namespaces" "-n" "--namespace" "-v" "--verbose" "-d" "--debug" "-q" "--quiet" }}
{{- $plain := list "--all-namespaces" "--verbose" "--debug" "--quiet" "--standalone" "--dev" }}
{{- $valued := list "--namespace" "--log-format" "--peering" "--priority" "--concurrency" "--writes-in-flight" "--allow-child" "--allow-tenant-child" "--record-requests" }}
{{- $number := list "--priority" "--concurrency" "--writes-in-flight" }}
{{- $chart := dict
  "--plugin" "Use the value `plugins`."
  "--policy" "Use the value `plugins.policies`."
  "--allow-plugin-source" "Use the value `plugins.allowSources`."
  "--allow-tenant-plugin-source" "Use the value `plugins.allowTenantSources`."
  "--plugin-folder" "Use the value `plugins.folders`."
  "--allow-tenant-interfaces" "Use the value `plugins.allowTenantInterfaces`."
  "--tenant-plugin-limits" "Use the value `plugins.tenantLimits`."
  "--plugin-ca-file" "Use the value `plugins.caFile`."
  "--plugin-auth-host" "Use the value `plugins.authHosts`."
  "--setting" "Use the value `settings`."
  "--settings" "Use the value `settings`."
  "--namespace-selector" "Use the value `namespaceSelector`."
  "--install-crds" "Use the value `crds.install`."
  "--liveness" "The chart serves health at port 8080; leave it out."
  "--bind" "The chart serves health and metrics at port 8080; leave it out."
  "--cache-dir" "The chart has a volume for it; leave it out."
  "--lease" "The chart always has a lease; leave it out."
  "--lease-namespace" "The lease is in the release's namespace; leave it out."
  "--lease-seconds" "Use the value `lease.seconds`."
  "--lease-identity" "A pod's name says who it is; leave it out."
  "--webhook" "Use the value `webhook.enabled`."
  "--webhook-service" "Use the value `webhook.enabled`."
  "--webhook-host" "The API server finds the webhook by its Service; leave it out."
  "--webhook-configuration" "Use the value `webhook.enabled`."
  "--webhook-secret" "The chart names it; leave it out."
  "--webhook-certificate-folder" "Use the value `webhook.certManager`."
  "--webhook-strict" "Use the value `webhook.strict`."
  "--context" "In a pod the service account says which cluster is meant; leave it out."
}}
{{- $namespaces := list }}
{{- $others := list }}
{{- $seen := dict }}
{{- $waiting := "" }}
{{- range $entry := .Values.kopfArgs }}
  {{- $name := $waiting }}
  {{- $value := $entry }}
  {{- $has := true }}
  {{- if not $waiting }}
    {{- $name = regexFind "^[^=]*" $entry }}
    {{- $has = contains "=" $entry }}
    {{- $value = trimPrefix "=" (trimPrefix $name $entry) }}
    {{- $name = get $short $name | default $name }}
  {{- end }}
  {{- $waiting = "" }}
  {{- if hasKey $chart $name }}
    {{- fail (printf "kopfArgs: %s is the chart's own. %s" $name (get $chart $name)) }}
  {{- else if has $name $plain }}
    {{- if $has }}
      {{- fail (printf "kopfArgs: %s takes no value; write it as it is." $name) }}
    {{- end }}
    {{- $_ := set $seen $name true }}
    {{- if ne $name "--all-namespaces" }}
      {{- $others = append $others $name }}
    {{- end }}
  {{- else if not (has $name $valued) }}
    {{- fail (printf "kopfArgs: the operator has no argument %q. It takes %s." $entry (concat $plain $valued | join ", ")) }}
  {{- else if not $has }}
    {{- $waiting = $name }}
  {{- else }}
    {{- if eq $name "--namespace" }}
      {{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" $value) }}
        {{- fail (printf "kopfArgs: --namespace=%s names no namespace. Patterns are not understood; name each namespace, or use the value `namespaces`." $value) }}
      {{- end }}
      {{- $namespaces = append $namespaces $value }}
    {{- else }}
      {{- if and (has $name $number) (not (regexMatch "^-?[0-9]+$" $value)) }}
        {{- fail (printf "kopfArgs: %s=%s is no number; write one, as %s=10." $name $value $name) }}
      {{- end }}
      {{- if and (has $name (list "--concurrency" "--writes-in-flight")) (lt (int $value) 1) }}
        {{- fail (printf "kopfArgs: %s=%s is too little; write a number from 1." $name $value) }}
      {{- end }}
      {{- if and (eq $name "--log-format") (not (has $value (list "plain" "full" "json"))) }}
        {{- fail (printf "kopfArgs: --log-format=%s is not known; write plain or json." $value) }}
      {{- end }}
      {{- $others = append $others (printf "%s=%s" $name $value) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- if $waiting }}
  {{- fail (printf "kopfArgs: %s has no value; write %s=VALUE." $waiting $waiting) }}
{{- end }}
{{- if and (hasKey $seen "--all-namespaces") $namespaces }}
  {{- fail "kopfArgs: --all-namespaces and --namespace exclude each other; leave one out." }}
{{- end }}
{{- if and (hasKey $seen "--quiet") (or (hasKey $seen "--verbose") (hasKey $seen "--debug")) }}
  {{- fail "kopfArgs: --quiet excludes --verbose and --debug; leave it out." }}
{{- end }}
{{- dict "namespaces" $namespaces "others" ($others | uniq) | toJson }}
{{- end }}

{{/* Environment variables that are set from values. */}}
{{- define "dask.environment" -}}
{{- $prefix := "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__" }}
{{- with .Values.workerAllocation }}
{{- if not (kindIs "invalid" .size) }}
- name: {{ $prefix }}BATCH_SIZE
  value: {{ .size | int64 | toString | quote }}
{{- end }}
{{- if not (kindIs "invalid" .delay) }}
- name: {{ $prefix }}DELAY
  value: {{ .delay | toString | quote }}
{{- end }}
{{- end }}
{{- end }}
