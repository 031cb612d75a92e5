{{/*
Relations between the values of RonDB's sources and targets, as templates/_validate.tpl has them:
(dict "root" $ "at" PATH "workload" WORKLOAD …).
*/}}

{{- define "holdfast.validateMysql" -}}
{{- $ways := pick .mysql "host" "socket" "servers" | keys | sortAlpha }}
{{- if ne (len $ways) 1 }}
{{- fail (printf "%s.mysql: name one of host, socket and servers (there are: %s)" .at (join ", " $ways | default "none")) }}
{{- end }}
{{- with .mysql.socket }}
{{- include "holdfast.validateMounted" (dict "workload" $.workload "at" (print $.at ".mysql.socket") "path" . "or" "name host, ") }}
{{- end }}
{{- end }}

{{- define "holdfast.validateFiles" -}}
{{- $at := print .at ".files" }}
{{- $path := .files.path | default "" }}
{{- $nodes := .files.dataNodes | default dict }}
{{- $sets := $nodes.statefulSets | default list }}
{{- if has ".." (splitList "/" $path) }}
{{- fail (printf "%s.path: %q leads out of its folder; leave out .." $at $path) }}
{{- else if and (hasKey .files "dataNodes") (eq (empty $nodes.selector) (empty $sets)) }}
{{- fail (printf "%s.dataNodes: name one of selector and statefulSets" $at) }}
{{- end }}
{{- $names := list }}
{{- $pods := 0 }}
{{- range $sets }}{{ $names = append $names .name }}{{ $pods = add $pods .replicas }}{{ end }}
{{- include "holdfast.validateOnce" (dict "at" (print $at ".dataNodes.statefulSets") "names" $names) }}
{{- if eq .files.access "volume" }}
{{- if hasPrefix "/" $path }}
{{- fail (printf "%s.path: %q is a path in the volume: no / in front of it" $at $path) }}
{{- else if gt $pods (int64 .root.Values.workers.max) }}
{{- fail (printf "workers.max: %d is less than the %d data nodes of %s; each has a worker of its own" (int64 .root.Values.workers.max) $pods $at) }}
{{- end }}
{{- else if eq .files.access "exec" }}
{{- if not $sets }}
{{- fail (printf "%s.dataNodes.statefulSets: missing; with access: exec the role names each pod, so name the StatefulSets: [{ name: node-group-0, replicas: 2 }]" $at) }}
{{- else if and $path (not (hasPrefix "/" $path)) }}
{{- fail (printf "%s.path: %q is a path in the container: it begins with /" $at $path) }}
{{- end }}
{{- else }}
{{- if not (and (hasPrefix "/" $path) (contains "{node}" $path)) }}
{{- fail (printf "%s.path: %q: with access: local it begins with / and has {node} for the node id; in Kubernetes use access: volume or exec" $at $path) }}
{{- end }}
{{- include "holdfast.validateMounted" (dict "workload" .workload "at" (print $at ".path") "path" $path "or" "use access: volume or exec, ") }}
{{- end }}
{{- end }}
