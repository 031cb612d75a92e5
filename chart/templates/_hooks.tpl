{{/*
What the hooks of plans and restores need of Kubernetes.

  holdfast.hooks        WORKLOAD   list of all its hooks: those around it, and those around its sources or targets
  holdfast.usesHooks    WORKLOAD   whether one of them needs Kubernetes
  holdfast.hookRules    (dict "root" $ "kind" "backup")   rules of the role of backups or restores
*/}}

{{- define "holdfast.hooks" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- $hooks := list }}
{{- range concat (list $values) ($values.sources | default list) ($values.targets | default list) }}
{{- with .hooks }}{{ $hooks = concat $hooks (.before | default list) (.after | default list) }}{{ end }}
{{- end }}
{{- $hooks | toJson }}
{{- end }}

{{- define "holdfast.usesHooks" -}}
{{- range include "holdfast.hooks" . | fromJsonArray }}
{{- if or .exec .scale }}true{{ break }}{{ end }}
{{- end }}
{{- end }}

{{/*
By name where names are known. Pods that are chosen by labels are not: who may run commands in them may run them in every pod
of the namespace. A workload itself cannot be changed, only how many replicas it has.
*/}}
{{- define "holdfast.hookRules" -}}
{{- $pods := list }}
{{- $records := list }}
{{- $bySelector := false }}
{{- $scaled := dict "deployments" list "statefulsets" list }}
{{- range include "holdfast.workloads" .root | fromJsonArray }}
{{- if eq .kind $.kind }}
{{- $workload := merge (dict "root" $.root) . }}
{{- range include "holdfast.hooks" $workload | fromJsonArray }}
{{- with .exec }}
{{- if .pod }}{{ $pods = append $pods .pod }}{{ else }}{{ $bySelector = true }}{{ end }}
{{- end }}
{{- with .scale }}
{{- $resource := eq (.kind | default "Deployment") "Deployment" | ternary "deployments" "statefulsets" }}
{{- $_ := append (get $scaled $resource) .name | uniq | sortAlpha | set $scaled $resource }}
{{- $records = append $records (printf "%s-scaled" (include "holdfast.hookRecord" $workload)) | uniq }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if $bySelector }}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [create, get]
{{- else if $pods }}
- apiGroups: [""]
  resources: [pods]
  resourceNames: {{ $pods | uniq | sortAlpha | toJson }}
  verbs: [get]
- apiGroups: [""]
  resources: [pods/exec]
  resourceNames: {{ $pods | uniq | sortAlpha | toJson }}
  verbs: [create, get]
{{- end }}
{{- if and $records (not $bySelector) }}
# A workload is down when its last pod has ended.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
{{- range $resource, $names := $scaled }}
{{- if $names }}
- apiGroups: [apps]
  resources: [{{ $resource }}]
  resourceNames: {{ toJson $names }}
  verbs: [get]
- apiGroups: [apps]
  resources: [{{ $resource }}/scale]
  resourceNames: {{ toJson $names }}
  verbs: [patch]
{{- end }}
{{- end }}
{{- with $records }}
# How many replicas there were, for whoever comes after a run that was killed.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: {{ toJson . }}
  verbs: [delete, get, update]
{{- end }}
{{- end }}

{{/* As job/kubernetes/hooks.ts has it: by the Lease, else by the run. */}}
{{- define "holdfast.hookRecord" -}}
{{- if eq .root.Values.coordination "lease" }}{{ include "holdfast.lease" . }}
{{- else }}{{ printf "holdfast-%s-%s" .kind .name }}
{{- end }}
{{- end }}
