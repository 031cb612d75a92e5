{{/*
Sources and targets of the engine `kubernetes`: what they need of Kubernetes, and what is wrong with them.

  holdfast.usesObjects      WORKLOAD                        whether it reads or writes objects
  holdfast.objectRules      (dict "root" $ "kind" "backup") rules of the role, beside those of holdfast.rules
  holdfast.validateObjects  (dict "at" PATH "kubernetes" …)
*/}}

{{- define "holdfast.chosenObjects" -}}
{{- $chosen := list }}
{{- $values := include "holdfast.values" . | fromJson }}
{{- range concat ($values.sources | default list) ($values.targets | default list) }}
{{- with .kubernetes }}{{ $chosen = concat $chosen .objects }}{{ end }}
{{- end }}
{{- $chosen | toJson }}
{{- end }}

{{- define "holdfast.usesObjects" -}}
{{- if include "holdfast.chosenObjects" . | fromJsonArray }}true{{ end }}
{{- end }}

{{/* Backups get what has names, and list the rest. Restores create, which cannot be limited to names, and update. */}}
{{- define "holdfast.objectRules" -}}
{{- $restores := eq .kind "restore" }}
{{- $any := false }}
{{- $seen := list }}
{{- range include "holdfast.workloads" .root | fromJsonArray }}
{{- if eq .kind $.kind }}
{{- range include "holdfast.chosenObjects" (merge (dict "root" $.root) .) | fromJsonArray }}
{{- $any = true }}
{{- $parts := splitn "." 2 .resource }}
{{- $verbs := ternary (list "get" "update") (list (empty .names | ternary "list" "get")) $restores }}
{{- $rule := dict "apiGroups" (list ($parts._1 | default "")) "resources" (list $parts._0) "verbs" $verbs }}
{{- if .names }}{{ $_ := set $rule "resourceNames" .names }}{{ end }}
{{- if not (has $rule $seen) }}{{ $seen = append $seen $rule }}{{ end }}
{{- if $restores }}
{{- $rule = dict "apiGroups" (list ($parts._1 | default "")) "resources" (list $parts._0) "verbs" (list "create") }}
{{- if not (has $rule $seen) }}{{ $seen = append $seen $rule }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $seen }}
- {{ toJson . }}
{{- end }}
{{- if $any }}
# What restores remember of themselves: half of one is no backup.
{{- if $restores }}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
{{- end }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [holdfast-restores]
  verbs: {{ ternary "[get, update]" "[get]" $restores }}
{{- end }}
{{- end }}

{{- define "holdfast.validateObjects" -}}
{{- range $i, $chosen := .kubernetes.objects }}
{{- if and $chosen.names $chosen.selector }}
{{- fail (printf "%s.objects[%d]: name one of names and selector" $.at $i) }}
{{- else if and $.source (eq $chosen.resource "secrets") (not $.kubernetes.plaintext) }}
{{- fail (printf "%s.plaintext: Secrets would lie in the storages unencrypted; true says that this is meant" $.at) }}
{{- end }}
{{- end }}
{{- end }}
