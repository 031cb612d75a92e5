{{/*
Relations between the values of pods, as templates/_validate.tpl has them.

  holdfast.validatePod              (dict "at" PATH "pod" …)                        one `pod` of the values
  holdfast.validateVolumes          (dict "at" PATH "pod" …)                        all layers of a pod together
  holdfast.validateLabels           (dict "at" PATH "labels" …)
  holdfast.validateMounted          (dict "workload" WORKLOAD "at" PATH "path" …)   a path that the job's pod must have
  holdfast.validateRoom             the same                                        room for what is downloaded there
  holdfast.validateAdmissionPolicy  $                                               worker pods that the policy would refuse
*/}}

{{/* A path of this machine is nothing to a pod, unless the pod has it mounted. */}}
{{- define "holdfast.validateMounted" -}}
{{- $mounts := include "holdfast.extraMounts" .workload | fromJsonArray | concat (list "/scratch") }}
{{- if not (include "holdfast.isBelow" (dict "path" .path "folders" $mounts)) }}
{{- fail (printf "%s: %q is not in the job's pod (there are: %s); %sor mount it with pod.extraVolumes and pod.extraVolumeMounts" .at .path (join ", " $mounts) (.or | default "take one of these, ")) }}
{{- end }}
{{- end }}

{{/* A pod that fills the machine's disk without having asked for room is evicted, and the next one fills it again. */}}
{{- define "holdfast.validateRoom" -}}
{{- $mounts := include "holdfast.extraMounts" .workload | fromJsonArray }}
{{- $resources := (include "holdfast.podSettings" .workload | fromJson).resources | default dict }}
{{- if not (or (include "holdfast.isBelow" (dict "path" .path "folders" $mounts)) (dig "requests" "ephemeral-storage" "" $resources)) }}
{{- fail (printf "%s.pod.resources.requests.ephemeral-storage: missing; the whole backup is downloaded to %q, on the machine's own disk: ask for room for it" .at .path) }}
{{- end }}
{{- end }}

{{- define "holdfast.extraMounts" -}}
{{- $mounts := list }}
{{- range (include "holdfast.podSettings" . | fromJson).extraVolumeMounts }}{{ $mounts = append $mounts .mountPath }}{{ end }}
{{- $mounts | toJson }}
{{- end }}

{{- define "holdfast.isBelow" -}}
{{- range .folders }}
{{- if or (eq . $.path) (hasPrefix (print (trimSuffix "/" .) "/") $.path) }}true{{ break }}{{ end }}
{{- end }}
{{- end }}

{{- define "holdfast.validatePod" -}}
{{- $pod := .pod | default dict }}
{{- include "holdfast.validateLabels" (dict "at" (print .at ".labels") "labels" $pod.labels) }}
{{- range $list, $key := dict "extraEnv" "name" "extraVolumes" "name" "extraVolumeMounts" "mountPath" }}
{{- $names := list }}
{{- range get $pod $list | default list }}{{ $names = get . $key | append $names }}{{ end }}
{{- include "holdfast.validateOnce" (dict "at" (printf "%s.%s" $.at $list) "names" $names) }}
{{- end }}
{{- range $i, $variable := $pod.extraEnv }}
{{- if or (hasPrefix "HOLDFAST_" .name) (eq .name "TMPDIR") }}
{{- fail (printf "%s.extraEnv[%d]: %s is set by the chart; leave it out" $.at $i .name) }}
{{- end }}
{{- end }}
{{- range $i, $volume := $pod.extraVolumes }}
{{- if or (has .name (list "tmp" "scratch" "config" "data")) (regexMatch "^(secret|claim)-" .name) }}
{{- fail (printf "%s.extraVolumes[%d]: %q is the name of a volume of the chart; give it another" $.at $i .name) }}
{{- end }}
{{- end }}
{{- range $i, $mount := $pod.extraVolumeMounts }}
{{- if regexMatch "^/(config|tmp|scratch|secrets|volumes|data|app)?/?$" .mountPath }}
{{- fail (printf "%s.extraVolumeMounts[%d]: %s is a folder of the chart or the image; mount it elsewhere" $.at $i .mountPath) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of all layers of a pod together: one may have the volume that another mounts. */}}
{{- define "holdfast.validateVolumes" -}}
{{- $names := list }}
{{- range .pod.extraVolumes }}{{ $names = append $names .name }}{{ end }}
{{- $names = concat $names (list "tmp" "scratch") }}
{{- range .pod.extraVolumeMounts }}
{{- if not (has .name $names) }}
{{- fail (printf "%s.pod.extraVolumeMounts: no volume named %q in extraVolumes (there are: %s)" $.at .name (join ", " $names)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Roles, policies and databases know the pods by these. */}}
{{- define "holdfast.validateLabels" -}}
{{- range $key, $_ := .labels }}
{{- if or (regexMatch "^(app\\.kubernetes\\.io|helm\\.sh|batch\\.kubernetes\\.io|holdfast)/" $key) (has $key (list "rondbService" "job-name" "controller-uid")) }}
{{- fail (printf "%s: %q is set by the chart or by Kubernetes; leave it out" $.at $key) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateAdmissionPolicy" -}}
{{- range include "holdfast.workloads" . | fromJsonArray }}
{{- $workload := merge (dict "root" $) . }}
{{- if include "holdfast.usesWorkers" $workload }}
{{- include "holdfast.validateWorkerPod" (include "holdfast.workerPod" $workload | fromYaml) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateWorkerPod" -}}
{{- $hint := "leave it out (workers.pod, and every pod that applies to them), or set admissionPolicy.enabled: false" }}
{{- range .spec.volumes }}
{{- $kind := omit . "name" | keys | first }}
{{- if not (has $kind (list "emptyDir" "ephemeral" "secret" "configMap" "persistentVolumeClaim")) }}
{{- fail (printf "pod.extraVolumes: the admission policy refuses worker pods the %s of volume %q; %s" $kind .name $hint) }}
{{- end }}
{{- end }}
{{- $security := (first .spec.containers).securityContext | default dict }}
{{- if ne (toString $security.allowPrivilegeEscalation) "false" }}
{{- fail (printf "pod.securityContext.allowPrivilegeEscalation: the admission policy refuses worker pods any value but false; %s" $hint) }}
{{- else if dig "capabilities" "add" "" $security }}
{{- fail (printf "pod.securityContext.capabilities.add: the admission policy refuses worker pods capabilities; %s" $hint) }}
{{- end }}
{{- end }}
