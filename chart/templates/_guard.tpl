{{/*
What the accounts and pods of this release may do, for rbac.yaml, admission-policy.yaml and networkpolicy.yaml.

ACCOUNT is one that may make worker pods: {name, kinds, workloads}. When backups and restores are told to share an account it
is one ACCOUNT of two kinds, because every policy that matches a request has to allow it.

  holdfast.guardsPods        $          whether admission policies say which pods the accounts make
  holdfast.guardsJobs        $          whether one says what they change of Jobs
  holdfast.guardedAccounts   $          list of ACCOUNTs
  holdfast.workerNames       WORKLOAD   list of the names its worker pods may have
  holdfast.rondbFiles        WORKLOAD   list of the `files` of its rondb sources
  holdfast.statefulSetPods   `files`    list of the pods of the StatefulSets that it names
  holdfast.workersMay        (dict "root" $ "account" ACCOUNT)   what the worker pods of an account may have
  holdfast.rules             (dict "root" $ "kind" "…")           rules of the role of backups or restores
  holdfast.storagePorts      $          list of the ports of the storages, and of what gives keys to them
  holdfast.usesIdentity      $          whether a storage has no keys in the values, but those of an identity
*/}}

{{/* `auto`: where holdfast.rules has the right that a policy guards. */}}
{{- define "holdfast.guardsPods" -}}
{{- if eq (toString .Values.admissionPolicy.enabled) "auto" }}
{{- range include "holdfast.workloads" . | fromJsonArray }}
{{- if include "holdfast.usesWorkers" (merge (dict "root" $) .) }}true{{ break }}{{ end }}
{{- end }}
{{- else if .Values.admissionPolicy.enabled }}true
{{- end }}
{{- end }}

{{- define "holdfast.guardsJobs" -}}
{{- if eq (toString .Values.admissionPolicy.enabled) "auto" }}
{{- if and (eq .Values.coordination "lease") (or .Values.backups .Values.restores .Values.copies) }}true{{ end }}
{{- else if .Values.admissionPolicy.enabled }}true
{{- end }}
{{- end }}

{{- define "holdfast.guardedAccounts" -}}
{{- $accounts := dict }}
{{- range $kind := list "backup" "restore" }}
{{- $name := include "holdfast.serviceAccount" (dict "root" $ "kind" $kind) }}
{{- $account := get $accounts $name | default (dict "name" $name "kinds" list "workloads" list) }}
{{- $workloads := $account.workloads }}
{{- range include "holdfast.workloads" $ | fromJsonArray }}
{{- if and (eq .kind $kind) (include "holdfast.usesWorkers" (merge (dict "root" $) .)) }}{{ $workloads = append $workloads . }}{{ end }}
{{- end }}
{{- $_ := set $accounts $name (dict "name" $name "kinds" (append $account.kinds $kind) "workloads" $workloads) }}
{{- end }}
{{- $sorted := list }}
{{- range keys $accounts | sortAlpha }}{{ $sorted = get $accounts . | append $sorted }}{{ end }}
{{- toJson $sorted }}
{{- end }}

{{- define "holdfast.workerNames" -}}
{{- $names := list }}
{{- range until (int .root.Values.workers.max) }}
{{- $names = append $names (printf "%s-%d" (include "holdfast.workers" $) .) }}
{{- end }}
{{- $names | toJson }}
{{- end }}

{{- define "holdfast.rondbFiles" -}}
{{- $files := list }}
{{- range (include "holdfast.values" . | fromJson).sources }}
{{- with dig "rondb" "files" "" . }}{{ $files = append $files . }}{{ end }}
{{- end }}
{{- $files | toJson }}
{{- end }}

{{- define "holdfast.statefulSetPods" -}}
{{- $pods := list }}
{{- range $set := dig "dataNodes" "statefulSets" list . }}
{{- range until (int $set.replicas) }}{{ $pods = printf "%s-%d" $set.name . | append $pods }}{{ end }}
{{- end }}
{{- $pods | toJson }}
{{- end }}

{{/*
Read from the pods that the chart gives to the job, so that what the values add to worker pods is allowed, and no more.
{names, labels: {key: [values]}, secrets, configMaps, claims, dataClaims, dataClaimPrefixes, dataFolders, folderClaims,
writtenClaims}
*/}}
{{- define "holdfast.workersMay" -}}
{{- $may := dict "labels" dict }}
{{- range list "names" "secrets" "configMaps" "claims" "dataClaims" "dataClaimPrefixes" "dataFolders" "folderClaims" "writtenClaims" }}{{ $_ := set $may . list }}{{ end }}
{{- range .account.workloads }}
{{- $workload := merge (dict "root" $.root) . }}
{{- $_ := set $may "names" (include "holdfast.workerNames" $workload | fromJsonArray | concat $may.names) }}
{{- include "holdfast.mayAsRendered" (dict "may" $may "pod" (include "holdfast.workerPod" $workload | fromYaml)) }}
{{- include "holdfast.mayOfDataNodes" (dict "may" $may "files" (include "holdfast.rondbFiles" $workload | fromJsonArray)) }}
{{- include "holdfast.mayOfFolders" (dict "may" $may "workload" $workload) }}
{{- end }}
{{- if $may.dataFolders }}{{ $_ := concat $may.dataClaims .root.Values.admissionPolicy.claims | set $may "dataClaims" }}{{ end }}
{{- range $key, $value := omit $may "names" "labels" }}{{ $_ := set $may $key ($value | uniq | sortAlpha) }}{{ end }}
{{- $may | toJson }}
{{- end }}

{{- define "holdfast.mayAsRendered" -}}
{{- $may := .may }}
{{- range $key, $value := .pod.metadata.labels }}
{{- $_ := append (get $may.labels $key | default list) $value | uniq | set $may.labels $key }}
{{- end }}
{{- range .pod.spec.volumes }}
{{- with .secret }}{{ $_ := append $may.secrets .secretName | set $may "secrets" }}{{ end }}
{{- with .configMap }}{{ $_ := append $may.configMaps .name | set $may "configMaps" }}{{ end }}
{{- with .persistentVolumeClaim }}{{ $_ := append $may.claims .claimName | set $may "claims" }}{{ end }}
{{- end }}
{{- range (first .pod.spec.containers).env }}
{{- with dig "valueFrom" "secretKeyRef" "name" "" . }}{{ $_ := append $may.secrets . | set $may "secrets" }}{{ end }}
{{- with dig "valueFrom" "configMapKeyRef" "name" "" . }}{{ $_ := append $may.configMaps . | set $may "configMaps" }}{{ end }}
{{- end }}
{{- end }}

{{/* A StatefulSet names its claims <volume>-<pod>. Of a data node's volume only the folder above the backups' is mounted. */}}
{{- define "holdfast.mayOfDataNodes" -}}
{{- $may := .may }}
{{- range .files }}
{{- if eq .access "volume" }}
{{- $volume := .volume | default "rondb-ndbmtd" }}
{{- $pods := include "holdfast.statefulSetPods" . | fromJsonArray }}
{{- range $pods }}{{ $_ := printf "%s-%s" $volume . | append $may.dataClaims | set $may "dataClaims" }}{{ end }}
{{- if not $pods }}{{ $_ := print $volume "-" | append $may.dataClaimPrefixes | set $may "dataClaimPrefixes" }}{{ end }}
{{- $folder := .path | default "ndb/backups/BACKUP" | clean | dir }}
{{- $_ := eq $folder "." | ternary "" $folder | append $may.dataFolders | set $may "dataFolders" }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Rules of the role of backups or restores: (dict "root" $ "kind" "backup"). Only what the job asks for, and by name where names
are known beforehand: `create` and `list` cannot be limited to names, and nobody knows what a Job of a CronJob will be called.
*/}}
{{- define "holdfast.rules" -}}
{{- $leases := list }}
{{- $workers := list }}
{{- $dataNodes := list }}
{{- $execPods := list }}
{{- range include "holdfast.workloads" .root | fromJsonArray }}
{{- if eq $.kind (eq .kind "copy" | ternary "backup" .kind) }}
{{- $workload := merge (dict "root" $.root) . }}
{{- if eq $.root.Values.coordination "lease" }}{{ $leases = include "holdfast.lease" $workload | append $leases }}{{ end }}
{{- if include "holdfast.usesWorkers" $workload }}{{ $workers = include "holdfast.workerNames" $workload | fromJsonArray | concat $workers }}{{ end }}
{{- range include "holdfast.rondbFiles" $workload | fromJsonArray }}
{{- $pods := include "holdfast.statefulSetPods" . | fromJsonArray }}
{{- if has .access (list "volume" "exec") }}{{ $dataNodes = concat $dataNodes $pods | uniq }}{{ end }}
{{- if eq .access "exec" }}{{ $execPods = concat $execPods $pods | uniq }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- with $leases }}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: {{ toJson . }}
  verbs: [get, update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# To annotate its own Job.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [patch]
{{- end }}
{{- with $workers }}
- apiGroups: [""]
  resources: [pods]
  verbs: [create, list]
- apiGroups: [""]
  resources: [pods]
  resourceNames: {{ toJson . }}
  verbs: [delete, get]
- apiGroups: [""]
  resources: [pods/log]
  resourceNames: {{ toJson . }}
  verbs: [get]
# Attach and exec are GET requests that become websockets; from 1.35 on Kubernetes asks for `create` besides.
- apiGroups: [""]
  resources: [pods/attach]
  resourceNames: {{ toJson . }}
  verbs: [create, get]
{{- end }}
{{- with $dataNodes }}
- apiGroups: [""]
  resources: [pods]
  resourceNames: {{ toJson . }}
  verbs: [get]
{{- end }}
{{- with $execPods }}
- apiGroups: [""]
  resources: [pods/exec]
  resourceNames: {{ toJson . }}
  verbs: [create, get]
{{- end }}
{{- end }}

{{- define "holdfast.storagePorts" -}}
{{- $ports := list }}
{{- range .Values.storages }}
{{- with .s3 }}
{{- $url := .endpoint | default "https://s3.amazonaws.com" | urlParse }}
{{- $port := $url.host | regexFind ":[0-9]+$" | trimPrefix ":" }}
{{- $ports = $port | default (eq $url.scheme "http" | ternary 80 443) | int | append $ports }}
{{- end }}
{{- end }}
{{- if include "holdfast.usesIdentity" . }}{{ $ports = append $ports 443 }}{{ end }}
{{- range .Values.storages }}
{{- /* Its servers stand in a Secret: nearly all speak HTTPS, others go into networkPolicy.egress. */}}
{{- if .rclone }}{{ $ports = append $ports 443 }}{{ end }}
{{- end }}
{{- $ports | uniq | sortAlpha | toJson }}
{{- end }}

{{- define "holdfast.usesIdentity" -}}
{{- range .Values.storages }}
{{- if and .s3 (not .s3.credentials) }}true{{ break }}{{ end }}
{{- end }}
{{- end }}
