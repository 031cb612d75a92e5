{{/*
Jobs and CronJobs.

  holdfast.cronJob      WORKLOAD  runs on its schedule; without one it is suspended, there to make Jobs from
  holdfast.once         WORKLOAD  a Job that runs once, and its ConfigMap
  holdfast.onceName     WORKLOAD  name of that Job and ConfigMap
  holdfast.jobSpec      JOBPOD    spec of a Job (JOBPOD: templates/_pod.tpl)
  holdfast.jobSettings  WORKLOAD  `job` of the values, with that of its plan or restore over it, as JSON
*/}}

{{- define "holdfast.cronJob" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- $job := include "holdfast.jobSettings" . | fromJson }}
{{- $name := include "holdfast.workload" . -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace | quote }}
  {{- include "holdfast.jobMetadata" . | nindent 2 }}
spec:
  # The 31st of February: never.
  schedule: {{ $values.schedule | default "0 0 31 2 *" | quote }}
  {{- with $values.timeZone }}
  timeZone: {{ . | quote }}
  {{- end }}
  suspend: {{ or (not $values.schedule) ($values.suspend | default false) }}
  concurrencyPolicy: Forbid
  {{- range $key := list "startingDeadlineSeconds" "successfulJobsHistoryLimit" "failedJobsHistoryLimit" }}
  {{- if hasKey $job $key }}
  {{ $key }}: {{ get $job $key | int64 }}
  {{- end }}
  {{- end }}
  jobTemplate:
    metadata:
      labels:
        {{- include "holdfast.workloadLabels" . | nindent 8 }}
        {{- with $job.labels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $job.annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "holdfast.jobSpec" (dict "root" .root "kind" .kind "name" .name "config" $name) | nindent 6 }}
{{- end }}

{{/*
The name has a hash of all that the Job is, for Kubernetes lets nobody change a Job: another request is another Job.
Helm and Argo CD leave them alone: an upgrade in the middle of a restore must not kill it.
*/}}
{{- define "holdfast.once" -}}
{{- $name := include "holdfast.onceName" . }}
{{- $once := include "holdfast.onceArguments" . | fromJson | merge (dict "root" .root "config" $name) }}
{{- $values := include "holdfast.values" . | fromJson -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "holdfast.objectLabels" . | nindent 4 }}
  annotations:
    {{- include "holdfast.keep" . | nindent 4 }}
immutable: true
data:
  {{- include "holdfast.configData" $once | nindent 2 }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace | quote }}
  {{- include "holdfast.jobMetadata" $once | nindent 2 }}
spec:
  {{- if and (eq .kind "restore") $values.suspend }}
  suspend: true
  {{- end }}
  {{- include "holdfast.jobSpec" $once | nindent 2 }}
{{- end }}

{{- define "holdfast.onceName" -}}
{{- $once := include "holdfast.onceArguments" . | fromJson | merge (dict "root" .root "config" "") }}
{{- $hash := print (include "holdfast.configData" $once) (include "holdfast.jobSpec" $once) | sha256sum | trunc 8 }}
{{- printf "%s-%s" (include "holdfast.workload" .) $hash }}
{{- end }}

{{- define "holdfast.onceArguments" -}}
{{- dict "kind" .kind "name" .name "once" true "wait" (eq .kind "restore") | toJson }}
{{- end }}

{{- define "holdfast.keep" -}}
helm.sh/resource-policy: keep
argocd.argoproj.io/sync-options: Prune=false,Delete=false
argocd.argoproj.io/compare-options: IgnoreExtraneous
{{- end }}

{{- define "holdfast.jobMetadata" -}}
{{- $job := include "holdfast.jobSettings" . | fromJson -}}
labels:
  {{- include "holdfast.objectLabels" . | nindent 2 }}
  {{- with $job.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := $job.annotations | default dict }}
{{- if .once }}{{ $annotations = include "holdfast.keep" . | fromYaml | merge $annotations }}{{ end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "holdfast.jobSpec" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- $job := include "holdfast.jobSettings" . | fromJson }}
{{- $deadline := $values.deadline | default (eq .kind "list" | ternary "1h" "24h") -}}
activeDeadlineSeconds: {{ include "holdfast.seconds" $deadline }}
{{- if hasKey $job "backoffLimit" }}
backoffLimit: {{ int64 $job.backoffLimit }}
{{- end }}
{{- with $job.podFailurePolicy }}
podFailurePolicy:
  {{- toYaml . | nindent 2 }}
{{- end }}
template:
  {{- include "holdfast.podTemplate" . | nindent 2 }}
{{- end }}

{{- define "holdfast.jobSettings" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- $job := dict }}
{{- include "holdfast.overlay" (list $job (.root.Values.job | default dict)) }}
{{- include "holdfast.overlay" (list $job ($values.job | default dict)) }}
{{- toJson $job }}
{{- end }}
