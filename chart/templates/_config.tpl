{{/*
The values become the job's config.

  holdfast.configData    WORKLOAD  data of its ConfigMap; "once" leaves out what only schedules a run
  holdfast.config        WORKLOAD  its part of the values, unchanged but for what only Kubernetes needs
  holdfast.workerConfig  WORKLOAD  what the job makes worker pods from
*/}}

{{- define "holdfast.configData" -}}
holdfast.yaml: |
  {{- include "holdfast.config" . | nindent 2 }}
{{- if include "holdfast.usesWorkers" . }}
workers.yaml: |
  {{- include "holdfast.workerConfig" . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "holdfast.config" -}}
{{- $values := .root.Values }}
{{- $config := dict }}
{{- with $values.cluster }}{{ $_ := set $config "cluster" . }}{{ end }}
{{- $used := include "holdfast.storages" . | fromJson }}
{{- $_ := include "holdfast.forJob" (dict "of" $values.storages "names" (keys $used)) | fromJson | set $config "storages" }}
{{- if eq .kind "copy" }}
{{- $copy := get $values.copies .name }}
{{- $_ := include "holdfast.forJob" (dict "of" $values.copies "names" (list .name)) | fromJson | set $config "copies" }}
{{- if hasKey $values.backups $copy.plan }}
{{- $_ := include "holdfast.forJob" (dict "of" $values.backups "names" (list $copy.plan)) | fromJson | set $config "backups" }}
{{- end }}
{{- end }}
{{- if has .kind (list "backup" "list") }}
{{- $names := empty .name | ternary (keys $values.backups) (list .name) }}
{{- $_ := include "holdfast.forJob" (dict "of" $values.backups "names" $names "once" .once) | fromJson | set $config "backups" }}
{{- end }}
{{- if has .kind (list "restore" "list") }}
{{- $names := empty .name | ternary (keys $values.restores) (list .name) }}
{{- $_ := include "holdfast.forJob" (dict "of" $values.restores "names" $names "once" .once) | fromJson | set $config "restores" }}
{{- end }}
{{- with include "holdfast.metrics" . | fromJson }}{{ $_ := set $config "metrics" . }}{{ end }}
{{- toYaml $config }}
{{- end }}

{{/*
A Job that runs once must not run again because a schedule was changed. The time zone is not of the schedule alone. Null is how Helm's users
take a value back.
*/}}
{{- define "holdfast.forJob" -}}
{{- $kept := dict }}
{{- range $name := .names }}
{{- $entry := omit (get $.of $name) "pod" "job" }}
{{- with $entry.filesystem }}{{ $entry = omit . "create" | set $entry "filesystem" }}{{ end }}
{{- if $.once }}
{{- $entry = omit $entry "schedule" "suspend" }}
{{- if not (or $entry.limits $entry.retention) }}{{ $entry = omit $entry "timeZone" }}{{ end }}
{{- end }}
{{- include "holdfast.overlay" (list $kept (dict $name $entry)) }}
{{- end }}
{{- toJson $kept }}
{{- end }}

{{- define "holdfast.workerConfig" -}}
{{- $workers := .root.Values.workers -}}
names: {{ include "holdfast.workers" . }}
max: {{ $workers.max }}
scratch:
  {{- with $workers.scratch.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- else }} {}
  {{- end }}
pod:
  {{- include "holdfast.workerPod" . | nindent 2 }}
{{- end }}
