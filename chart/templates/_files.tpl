{{/*
Sources and targets of the engine `files`: what they need of Kubernetes, and what is wrong with them.

  holdfast.files          WORKLOAD   list of the `files` of its sources and targets
  holdfast.filesAccess    (dict "workload" WORKLOAD "access" "volume")   whether one has this access
  holdfast.filesRules     (dict "root" $ "kind" "backup")                rules of the role, beside those of holdfast.rules
  holdfast.validateFolder (dict "at" PATH "workload" WORKLOAD "files" …)
*/}}

{{- define "holdfast.files" -}}
{{- $files := list }}
{{- $values := include "holdfast.values" . | fromJson }}
{{- range concat ($values.sources | default list) ($values.targets | default list) }}
{{- with .files }}{{ $files = append $files . }}{{ end }}
{{- end }}
{{- $files | toJson }}
{{- end }}

{{- define "holdfast.filesAccess" -}}
{{- range include "holdfast.files" .workload | fromJsonArray }}
{{- if eq .access $.access }}true{{ break }}{{ end }}
{{- end }}
{{- end }}

{{/* Claims that worker pods mount as a whole; a backup only reads. */}}
{{- define "holdfast.mayOfFolders" -}}
{{- $may := .may }}
{{- range include "holdfast.files" .workload | fromJsonArray }}
{{- if eq .access "volume" }}
{{- $_ := append $may.folderClaims .claim | set $may "folderClaims" }}
{{- if eq $.workload.kind "restore" }}{{ $_ := append $may.writtenClaims .claim | set $may "writtenClaims" }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels cannot limit a role: whoever chooses pods by them may run programs in every pod. */}}
{{- define "holdfast.filesRules" -}}
{{- $pods := list }}
{{- $every := false }}
{{- range include "holdfast.workloads" .root | fromJsonArray }}
{{- if eq .kind $.kind }}
{{- range include "holdfast.files" (merge (dict "root" $.root) .) | fromJsonArray }}
{{- if eq .access "exec" }}
{{- $names := dig "pods" "names" list . }}
{{- if $names }}{{ $pods = concat $pods $names | uniq }}{{ else }}{{ $every = true }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with $pods }}
- apiGroups: [""]
  resources: [pods]
  resourceNames: {{ toJson . }}
  verbs: [get]
- apiGroups: [""]
  resources: [pods/exec]
  resourceNames: {{ toJson . }}
  verbs: [create, get]
{{- end }}
{{- if $every }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [create, get]
{{- end }}
{{- end }}

{{- define "holdfast.validateFolder" -}}
{{- $path := .files.path | default "" }}
{{- if has ".." (splitList "/" $path) }}
{{- fail (printf "%s.path: %q leads out of its folder; leave out .." .at $path) }}
{{- else if eq .files.access "volume" }}
{{- if hasPrefix "/" $path }}
{{- fail (printf "%s.path: %q is a path in the volume: no / in front of it" .at $path) }}
{{- else if not .files.claim }}
{{- fail (printf "%s.claim: missing; with access: volume it is the PersistentVolumeClaim that has the files" .at) }}
{{- end }}
{{- include "holdfast.validateName" (dict "at" (print .at ".claim") "name" .files.claim "what" "PersistentVolumeClaim") }}
{{- else if not (hasPrefix "/" $path) }}
{{- fail (printf "%s.path: %q: with access: %s it begins with /" .at $path .files.access) }}
{{- else if eq .files.access "exec" }}
{{- if not (and .files.container .files.pods) }}
{{- fail (printf "%s.pods: with access: exec name the pods and the container: { pods: { names: [web-0] }, container: web }" .at) }}
{{- else if eq (empty .files.pods.names) (empty .files.pods.selector) }}
{{- fail (printf "%s.pods: name one of names and selector" .at) }}
{{- end }}
{{- else }}
{{- include "holdfast.validateMounted" (dict "workload" .workload "at" (print .at ".path") "path" $path "or" "use access: volume or exec, ") }}
{{- end }}
{{- end }}
