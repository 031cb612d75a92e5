{{/*
Names, labels, and what a workload uses. Nothing here fails: templates/_validate.tpl does.

WORKLOAD is (dict "root" $ "kind" "backup" "name" "nightly"). The kinds are backup, restore, copy, and list, which has no name.
Lists and maps come as JSON, for fromJsonArray and fromJson. A yes is "true", a no is empty.

  holdfast.name            $                                     the chart's name, for labels
  holdfast.fullname        $                                     how all names begin; not trimmed, so no name by itself
  holdfast.trim            (dict "name" "limit" "suffix")        name and suffix, cut with a hash when over the limit
  holdfast.object          (dict "root" $ "suffix" "…" "limit")  <fullname>-<suffix>, 63 characters at most unless told
  holdfast.clusterObject   (dict "root" $ "suffix" "…")          the same for objects without a namespace
  holdfast.chart           $                                     chart and version, for a label
  holdfast.image           $                                     the image, with tag or digest
  holdfast.selectorLabels  (dict "root" $ "component" "…")       labels that never change
  holdfast.labels          (dict "root" $ "component" "…")       all labels of an object, of no workload
  holdfast.objectLabels    WORKLOAD                              all labels of an object of a workload
  holdfast.workload        WORKLOAD                              name of its CronJob and ConfigMap, 52 characters at most
  holdfast.lease           WORKLOAD                              name of its Lease
  holdfast.leaseLabels     WORKLOAD                              labels of its Lease, as selectors have them: a=b,c=d
  holdfast.workers         WORKLOAD                              its worker pods are <this>-0 … <this>-<workers.max - 1>
  holdfast.workloadLabels  WORKLOAD                              labels of its pods
  holdfast.workerLabels    WORKLOAD                              labels of its worker pods
  holdfast.serviceAccount  (dict "root" $ "kind" "…")            account of backup, restore, list and copy (that of backups) or worker
  holdfast.values          WORKLOAD                              its plan, restore or copy as in the values; {} for list
  holdfast.storages        WORKLOAD                              map of the storages it uses, by name
  holdfast.secrets         any part of the values                list of the Secrets named in it, without those under pod
  holdfast.claims          map of storages                       list of the claims named in it
  holdfast.workloadSecrets WORKLOAD                              list of the Secrets its pods and workers mount
  holdfast.workloadClaims  WORKLOAD                              list of the claims its pods and workers mount
  holdfast.usesWorkers     WORKLOAD                              whether it makes worker pods
  holdfast.usesExec        WORKLOAD                              whether it runs programs in containers of databases
  holdfast.usesApi         WORKLOAD                              whether its pod gets a token for Kubernetes
  holdfast.workloads       $                                     list of all WORKLOADs, each without its root: {kind, name}
*/}}

{{- define "holdfast.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* As a subchart its own name is added: the parent, or a second copy under an alias, may use the release's name too. */}}
{{- define "holdfast.fullname" -}}
{{- $name := include "holdfast.name" . }}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if or (and .Chart.IsRoot (not .Values.nameOverride)) (contains $name .Release.Name) }}{{ .Release.Name }}
{{- else }}{{ printf "%s-%s" .Release.Name $name }}
{{- end }}
{{- end }}

{{/* The hash is that of the whole name, so names that differ anywhere stay different. */}}
{{- define "holdfast.trim" -}}
{{- $suffix := .suffix | default "" }}
{{- $whole := print .name $suffix }}
{{- $room := sub (sub (int .limit) (len $suffix)) 9 | int }}
{{- if le (len $whole) (int .limit) }}{{ $whole }}
{{- else }}{{ print (trunc $room .name | trimSuffix "-" | trimSuffix ".") "-" (sha256sum $whole | trunc 8) $suffix }}
{{- end }}
{{- end }}

{{- define "holdfast.object" -}}
{{- $name := printf "%s-%s" (include "holdfast.fullname" .root) .suffix }}
{{- include "holdfast.trim" (dict "name" $name "limit" (.limit | default 63)) }}
{{- end }}

{{/* Always with a hash: namespace a-b and release c must not meet namespace a and release b-c. */}}
{{- define "holdfast.clusterObject" -}}
{{- $fullname := include "holdfast.fullname" .root }}
{{- $hash := printf "%s/%s" .root.Release.Namespace $fullname | sha256sum | trunc 8 }}
{{- $name := printf "%s-%s-%s" .root.Release.Namespace $fullname .suffix }}
{{- include "holdfast.trim" (dict "name" $name "limit" 63 "suffix" (print "-" $hash)) }}
{{- end }}

{{- define "holdfast.chart" -}}
{{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "holdfast.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else }}{{ printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "holdfast.selectorLabels" -}}
app.kubernetes.io/name: {{ include "holdfast.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ include "holdfast.chart" .root }}
{{- end }}

{{- define "holdfast.objectLabels" -}}
{{ include "holdfast.labels" (dict "root" .root "component" .kind) }}
{{- include "holdfast.planLabels" . }}
{{- end }}

{{/* CronJobs add 11 characters to the names of their Jobs: hence 52. */}}
{{- define "holdfast.workload" -}}
{{- $suffix := .kind }}
{{- if .name }}{{ $suffix = printf "%s-%s" .kind .name }}{{ end }}
{{- include "holdfast.object" (dict "root" .root "suffix" $suffix "limit" 52) }}
{{- end }}

{{- define "holdfast.lease" -}}
{{- include "holdfast.workload" . }}
{{- end }}

{{/* Those that never change: the run makes the Lease, and Helm does not know it. */}}
{{- define "holdfast.leaseLabels" -}}
{{- $selector := include "holdfast.selectorLabels" (dict "root" .root "component" .kind) }}
{{- $pairs := list }}
{{- range $key, $value := include "holdfast.planLabels" . | print $selector | fromYaml }}
{{- $pairs = printf "%s=%s" $key $value | append $pairs }}
{{- end }}
{{- join "," $pairs }}
{{- end }}

{{/* Room is left for a number of three digits. */}}
{{- define "holdfast.workers" -}}
{{- $name := printf "%s-%s-%s" (include "holdfast.fullname" .root) .kind .name }}
{{- include "holdfast.trim" (dict "name" $name "limit" 59 "suffix" "-worker") }}
{{- end }}

{{- define "holdfast.workloadLabels" -}}
{{ include "holdfast.selectorLabels" (dict "root" .root "component" .kind) }}
{{- include "holdfast.planLabels" . }}
{{- include "holdfast.rondbLabel" . }}
{{- end }}

{{- define "holdfast.workerLabels" -}}
{{ include "holdfast.selectorLabels" (dict "root" .root "component" "worker") }}
{{- include "holdfast.planLabels" . }}
{{- include "holdfast.rondbLabel" . }}
{{- end }}

{{/* Begins with a line end: it continues other labels. */}}
{{- define "holdfast.planLabels" }}
{{- if eq .kind "backup" }}
holdfast/plan: {{ .name | quote }}
{{- else if eq .kind "restore" }}
holdfast/restore: {{ .name | quote }}
{{- else if eq .kind "copy" }}
holdfast/copy: {{ .name | quote }}
{{- end }}
{{- end }}

{{/* rondb-helm's NetworkPolicies let pods with these values of rondbService reach the cluster. */}}
{{- define "holdfast.rondbLabel" }}
{{- $values := include "holdfast.values" . | fromJson }}
{{- range concat ($values.sources | default list) ($values.targets | default list) }}
{{- if hasKey . "rondb" }}
rondbService: {{ eq $.kind "backup" | ternary "create-backup" "restore-backup" }}
{{- break }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.serviceAccount" -}}
{{- $kind := has .kind (list "list" "copy") | ternary "backup" .kind }}
{{- $account := index .root.Values.serviceAccounts $kind }}
{{- $account.name | default (include "holdfast.object" (dict "root" .root "suffix" $kind)) }}
{{- end }}

{{- define "holdfast.values" -}}
{{- $values := dict }}
{{- if eq .kind "backup" }}{{ $values = get .root.Values.backups .name }}{{ end }}
{{- if eq .kind "restore" }}{{ $values = get .root.Values.restores .name }}{{ end }}
{{- if eq .kind "copy" }}{{ $values = get .root.Values.copies .name }}{{ end }}
{{- $values | default dict | toJson }}
{{- end }}

{{/* A copy knows its plan, whose retention says what it leaves out, and with it the plan's storages. */}}
{{- define "holdfast.storages" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- $names := $values.storages | default list }}
{{- if eq .kind "restore" }}{{ $names = dig "from" "storages" list $values }}{{ end }}
{{- if eq .kind "list" }}{{ $names = keys .root.Values.storages }}{{ end }}
{{- if eq .kind "copy" }}
{{- $names = dig $values.plan "storages" list .root.Values.backups | concat ($values.from | default list) ($values.to | default list) }}
{{- end }}
{{- $used := dict }}
{{- range $name := $names }}
{{- with get $.root.Values.storages $name }}{{ $_ := set $used $name . }}{{ end }}
{{- end }}
{{- $used | toJson }}
{{- end }}

{{/* Secrets stand in the job's values as { secret: NAME, … }, wherever that is. */}}
{{- define "holdfast.secrets" -}}
{{- $found := list }}
{{- if kindIs "slice" . }}
{{- range . }}{{ $found = include "holdfast.secrets" . | fromJsonArray | concat $found }}{{ end }}
{{- else if kindIs "map" . }}
{{- range $key, $value := omit . "pod" "job" }}
{{- if and (eq $key "secret") (kindIs "string" $value) }}{{ $found = append $found $value }}
{{- else }}{{ $found = include "holdfast.secrets" $value | fromJsonArray | concat $found }}
{{- end }}
{{- end }}
{{- end }}
{{- $found | uniq | sortAlpha | toJson }}
{{- end }}

{{- define "holdfast.claims" -}}
{{- $found := list }}
{{- range . }}
{{- with dig "filesystem" "claim" "" . }}{{ $found = append $found . }}{{ end }}
{{- end }}
{{- $found | uniq | sortAlpha | toJson }}
{{- end }}

{{/*
To list backups, nothing but the storages is opened. What writes backups cannot read them: identities are for restores. Manifests are
signed by the job, not by its workers; metrics are sent by it, too.
*/}}
{{- define "holdfast.workloadSecrets" -}}
{{- $secrets := include "holdfast.neededSecrets" . | fromJsonArray }}
{{- if not (or .worker (eq .kind "list")) }}{{ $secrets = include "holdfast.metricsSecrets" .root | fromJsonArray | concat $secrets }}{{ end }}
{{- $secrets | uniq | sortAlpha | toJson }}
{{- end }}

{{/* Without those that only metrics name: a run goes on when they are missing. */}}
{{- define "holdfast.neededSecrets" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- if .worker }}{{ $values = omit $values "signing" }}{{ end }}
{{- $storages := include "holdfast.storages" . | fromJson }}
{{- if ne .kind "restore" }}
{{- range $storages }}
{{- with .encryption }}{{ $_ := unset . "identities" }}{{ end }}
{{- end }}
{{- end }}
{{- include "holdfast.secrets" (list $values $storages) }}
{{- end }}

{{- define "holdfast.workloadClaims" -}}
{{- include "holdfast.storages" . | fromJson | include "holdfast.claims" }}
{{- end }}

{{/* Backups: beside the data nodes' volumes. Restores: unless the job's own pod has a place for the files. */}}
{{- define "holdfast.usesWorkers" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- $uses := include "holdfast.filesAccess" (dict "workload" . "access" "volume") }}
{{- range $values.sources }}
{{- if eq (dig "rondb" "files" "access" "" .) "volume" }}{{ $uses = "true" }}{{ end }}
{{- end }}
{{- range $values.targets }}
{{- if and .rondb (not (dig "rondb" "staging" "" .)) }}{{ $uses = "true" }}{{ end }}
{{- end }}
{{- $uses }}
{{- end }}

{{- define "holdfast.usesExec" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- $uses := include "holdfast.filesAccess" (dict "workload" . "access" "exec") }}
{{- range $values.sources }}
{{- if eq (dig "rondb" "files" "access" "" .) "exec" }}{{ $uses = "true" }}{{ end }}
{{- end }}
{{- $uses }}
{{- end }}

{{/* A run that only coordinates needs it for the lease and its events; to list, nothing is needed. */}}
{{- define "holdfast.usesApi" -}}
{{- $lease := and (ne .kind "list") (eq .root.Values.coordination "lease") }}
{{- if or $lease (include "holdfast.usesWorkers" .) (include "holdfast.usesExec" .) (include "holdfast.usesHooks" .) (include "holdfast.usesObjects" .) }}true{{ end }}
{{- end }}

{{- define "holdfast.workloads" -}}
{{- $all := list (dict "kind" "list" "name" "") }}
{{- range $name := keys .Values.backups | sortAlpha }}{{ $all = append $all (dict "kind" "backup" "name" $name) }}{{ end }}
{{- range $name := keys .Values.restores | sortAlpha }}{{ $all = append $all (dict "kind" "restore" "name" $name) }}{{ end }}
{{- range $name := keys .Values.copies | sortAlpha }}{{ $all = append $all (dict "kind" "copy" "name" $name) }}{{ end }}
{{- $all | toJson }}
{{- end }}
