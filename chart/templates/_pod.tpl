{{/*
The pod: one for all workloads. JOBPOD is a WORKLOAD (templates/_names.tpl) with what differs:
"config" the name of its ConfigMap, "wait" whether it waits for the holder of its Lease, "worker" whether it is a worker.

  holdfast.podTemplate  JOBPOD           metadata and spec of the pods of a Job
  holdfast.workerPod    WORKLOAD         the whole pod that the job makes its workers from
  holdfast.podSettings  JOBPOD           every `pod` that applies to it, laid over each other, as JSON
  holdfast.overlay      (list MAP OVER)  writes OVER into MAP: maps are merged, lists are joined, null removes
  holdfast.join         (list ONE OTHER) both lists as JSON, without what OTHER has under the same name or mountPath
  holdfast.seconds      "48h"            a duration in seconds
*/}}

{{- define "holdfast.podTemplate" -}}
metadata:
  {{- include "holdfast.podMetadata" . | nindent 2 }}
spec:
  {{- include "holdfast.podSpec" . | nindent 2 }}
{{- end }}

{{- define "holdfast.workerPod" -}}
{{- $worker := dict "root" .root "kind" .kind "name" .name "worker" true -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "holdfast.podMetadata" $worker | nindent 2 }}
spec:
  {{- include "holdfast.podSpec" $worker | nindent 2 }}
  {{- $values := include "holdfast.values" . | fromJson }}
  activeDeadlineSeconds: {{ include "holdfast.seconds" ($values.deadline | default "24h") }}
{{- end }}

{{- define "holdfast.podMetadata" -}}
{{- $pod := include "holdfast.podSettings" . | fromJson -}}
labels:
  {{- include (empty .worker | ternary "holdfast.workloadLabels" "holdfast.workerLabels") . | nindent 2 }}
  {{- with $pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $pod.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "holdfast.podSpec" -}}
{{- $pod := include "holdfast.podSettings" . | fromJson }}
{{- $account := empty .worker | ternary .kind "worker" }}
{{- $token := and (not .worker) (include "holdfast.usesApi" .) -}}
serviceAccountName: {{ include "holdfast.serviceAccount" (dict "root" .root "kind" $account) | quote }}
automountServiceAccountToken: {{ not (empty $token) }}
enableServiceLinks: false
restartPolicy: Never
# For uploads to be aborted and a database's backup to be cancelled.
terminationGracePeriodSeconds: 60
{{- range $key := list "imagePullSecrets" "priorityClassName" "nodeSelector" "affinity" "tolerations" "topologySpreadConstraints" }}
{{- with get $pod $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $pod.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - {{ include "holdfast.container" (dict "of" . "pod" $pod) | nindent 4 | trim }}
volumes:
  {{- include "holdfast.volumes" . | nindent 2 }}
  {{- with $pod.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "holdfast.container" -}}
{{- $command := list "/app/holdfast" (empty .of.worker | ternary .of.kind "worker") }}
{{- if and .of.name (not .of.worker) }}{{ $command = append $command .of.name }}{{ end -}}
name: {{ empty .of.worker | ternary "holdfast" "worker" }}
image: {{ include "holdfast.image" .of.root | quote }}
imagePullPolicy: {{ .of.root.Values.image.pullPolicy }}
command: {{ toJson $command }}
{{- if .of.worker }}
stdin: true
stdinOnce: false
{{- end }}
env:
  {{- include "holdfast.env" .of | nindent 2 }}
  {{- with .pod.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  {{- include "holdfast.volumeMounts" .of | nindent 2 }}
  {{- with .pod.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .pod.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* Without the variables of Kubernetes the job does not look for it. */}}
{{- define "holdfast.env" -}}
- { name: HOLDFAST_SECRETS_DIR, value: /secrets }
- { name: HOLDFAST_VOLUMES_DIR, value: /volumes }
- { name: HOLDFAST_TMP_DIR, value: /scratch }
- { name: TMPDIR, value: /tmp }
{{- if not .worker }}
- { name: HOLDFAST_CONFIG, value: /config/holdfast.yaml }
{{- if include "holdfast.usesApi" . }}
- { name: HOLDFAST_POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
- { name: HOLDFAST_POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
- { name: HOLDFAST_POD_UID, valueFrom: { fieldRef: { fieldPath: metadata.uid } } }
- { name: HOLDFAST_JOB_NAME, valueFrom: { fieldRef: { fieldPath: "metadata.labels['batch.kubernetes.io/job-name']" } } }
- { name: HOLDFAST_JOB_UID, valueFrom: { fieldRef: { fieldPath: "metadata.labels['batch.kubernetes.io/controller-uid']" } } }
{{- if eq .root.Values.coordination "lease" }}
- { name: HOLDFAST_LEASE, value: {{ include "holdfast.lease" . }} }
- { name: HOLDFAST_LABELS, value: {{ include "holdfast.leaseLabels" . | quote }} }
{{- if .wait }}
- { name: HOLDFAST_LEASE_WAIT, value: "true" }
{{- end }}
{{- end }}
{{- if include "holdfast.usesWorkers" . }}
- { name: HOLDFAST_WORKERS, value: /config/workers.yaml }
- { name: HOLDFAST_WORKER_IMAGE, value: {{ include "holdfast.image" .root | quote }} }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.volumeMounts" -}}
- { name: tmp, mountPath: /tmp }
- { name: scratch, mountPath: /scratch }
{{- if not .worker }}
- { name: config, mountPath: /config, readOnly: true }
{{- end }}
{{- range include "holdfast.workloadSecrets" . | fromJsonArray }}
- { name: {{ include "holdfast.volumeName" (list "secret" .) }}, mountPath: {{ print "/secrets/" . | quote }}, readOnly: true }
{{- end }}
{{- range include "holdfast.workloadClaims" . | fromJsonArray }}
- { name: {{ include "holdfast.volumeName" (list "claim" .) }}, mountPath: {{ print "/volumes/" . | quote }} }
{{- end }}
{{- end }}

{{/* What is secret and temporary stays in memory: programs get passwords as files in /tmp. */}}
{{- define "holdfast.volumes" -}}
- { name: tmp, emptyDir: { medium: Memory, sizeLimit: 64Mi } }
- { name: scratch, emptyDir: {} }
{{- if not .worker }}
- { name: config, configMap: { name: {{ .config | quote }} } }
{{- end }}
{{- $needed := include "holdfast.neededSecrets" . | fromJsonArray }}
{{- range include "holdfast.workloadSecrets" . | fromJsonArray }}
- { name: {{ include "holdfast.volumeName" (list "secret" .) }}, secret: { secretName: {{ . | quote }}, defaultMode: 0444{{ if not (has . $needed) }}, optional: true{{ end }} } }
{{- end }}
{{- range include "holdfast.workloadClaims" . | fromJsonArray }}
- { name: {{ include "holdfast.volumeName" (list "claim" .) }}, persistentVolumeClaim: { claimName: {{ . | quote }} } }
{{- end }}
{{- end }}

{{/* (list "secret" NAME): names of objects may have dots and 253 characters, those of volumes may not. */}}
{{- define "holdfast.volumeName" -}}
{{- $name := join "-" . }}
{{- if contains "." $name }}
{{- printf "%s-%s" (replace "." "-" $name | trunc 54 | trimSuffix "-") (sha256sum $name | trunc 8) }}
{{- else }}
{{- include "holdfast.trim" (dict "name" $name "limit" 63) }}
{{- end }}
{{- end }}

{{/* Where workers run, and what they need there, is said under `workers` alone: it is not where the job runs. */}}
{{- define "holdfast.podSettings" -}}
{{- $values := include "holdfast.values" . | fromJson }}
{{- $layers := list .root.Values.pod }}
{{- range $_, $storage := include "holdfast.storages" . | fromJson }}{{ $layers = append $layers $storage.pod }}{{ end }}
{{- $layers = append $layers $values.pod }}
{{- $pod := dict }}
{{- range $layer := $layers }}
{{- $layer = $layer | default dict }}
{{- if $.worker }}{{ $layer = omit $layer "nodeSelector" "affinity" "topologySpreadConstraints" "resources" }}{{ end }}
{{- include "holdfast.overlay" (list $pod $layer) }}
{{- end }}
{{- if .worker }}{{ include "holdfast.overlay" (list $pod (.root.Values.workers.pod | default dict)) }}{{ end }}
{{- $pod | toJson }}
{{- end }}

{{/* Not mergeOverwrite, which takes false, 0 and null for nothing said, and replaces lists. */}}
{{- define "holdfast.overlay" -}}
{{- $map := index . 0 }}
{{- range $key, $value := index . 1 }}
{{- if kindIs "invalid" $value }}{{ $_ := unset $map $key }}
{{- else if kindIs "map" $value }}
{{- if not (kindIs "map" (get $map $key)) }}{{ $_ := set $map $key dict }}{{ end }}
{{- include "holdfast.overlay" (list (get $map $key) $value) }}
{{- else if and (kindIs "slice" $value) (kindIs "slice" (get $map $key)) }}
{{- $_ := include "holdfast.join" (list (get $map $key) $value) | fromJsonArray | set $map $key }}
{{- else }}{{ $_ := set $map $key $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* Kubernetes knows entries of lists by these, and refuses two of one name. */}}
{{- define "holdfast.join" -}}
{{- $joined := list }}
{{- $names := list }}
{{- range index . 1 }}{{ $names = include "holdfast.nameOf" . | append $names }}{{ end }}
{{- range index . 0 }}
{{- $name := include "holdfast.nameOf" . }}
{{- if not (and $name (has $name $names)) }}{{ $joined = append $joined . }}{{ end }}
{{- end }}
{{- index . 1 | concat $joined | toJson }}
{{- end }}

{{- define "holdfast.nameOf" -}}
{{- if kindIs "map" . }}{{ .mountPath | default .name | default "" }}{{ end }}
{{- end }}

{{- define "holdfast.seconds" -}}
{{- $unit := dict "s" 1 "m" 60 "h" 3600 "d" 86400 }}
{{- mul (trimSuffix (substr (int (sub (len .) 1)) -1 .) . | int) (get $unit (substr (int (sub (len .) 1)) -1 .)) }}
{{- end }}
