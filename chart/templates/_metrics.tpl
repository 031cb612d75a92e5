{{/*
Where runs send figures of themselves.

  holdfast.metrics          WORKLOAD  `metrics` of its config, as JSON; {} for the list, which sends nothing
  holdfast.metricsSecrets   $         list of the Secrets named in it
  holdfast.metricsPort      $         port of the gateway; empty without one
  holdfast.validateMetrics  $
*/}}

{{/* Releases of one gateway must not overwrite each other's. What the values say of these labels wins. */}}
{{- define "holdfast.metrics" -}}
{{- $metrics := dict }}
{{- with .root.Values.metrics.pushgateway }}
{{- if ne $.kind "list" }}
{{- $labels := dict "namespace" $.root.Release.Namespace "release" $.root.Release.Name | merge dict (.labels | default dict) }}
{{- $_ := merge (dict "labels" $labels) . | set $metrics "pushgateway" }}
{{- end }}
{{- end }}
{{- toJson $metrics }}
{{- end }}

{{- define "holdfast.metricsSecrets" -}}
{{- omit (.Values.metrics.pushgateway | default dict) "labels" | include "holdfast.secrets" }}
{{- end }}

{{- define "holdfast.metricsPort" -}}
{{- with .Values.metrics.pushgateway }}
{{- $url := urlParse .url }}
{{- $url.host | regexFind ":[0-9]+$" | trimPrefix ":" | default (eq $url.scheme "http" | ternary 80 443) }}
{{- end }}
{{- end }}

{{- define "holdfast.validateMetrics" -}}
{{- with .Values.metrics.pushgateway }}
{{- /* The address is not shown: a password may stand in it. */}}
{{- if or (not (regexMatch "^https?://[^\\s/?#@]+(/[^\\s?#]*)?$" .url)) (regexMatch "/metrics(/job/.*)?/*$" .url) }}
{{- fail "metrics.pushgateway.url: name the address alone, without an account, a question mark, # or /metrics: http://pushgateway.monitoring:9091" }}
{{- end }}
{{- if and .tls (hasPrefix "http:" .url) }}
{{- fail "metrics.pushgateway.tls: the url is http://, where nothing is encrypted; leave tls out, or say https://" }}
{{- else if eq (dig "mode" "" (.tls | default dict)) "disabled" }}
{{- fail "metrics.pushgateway.tls.mode: an https gateway has TLS; say http://, or another mode" }}
{{- end }}
{{- range $name, $_ := .labels }}
{{- if has $name (list "job" "verb" "name" "storage") }}
{{- fail (printf "metrics.pushgateway.labels: the job sets %q by itself; give it another name" $name) }}
{{- else if or (hasPrefix "__" $name) (not (regexMatch "^[A-Za-z_][A-Za-z0-9_]*$" $name)) }}
{{- fail (printf "metrics.pushgateway.labels: %q cannot be the name of a label, which has A-Z, a-z, 0-9 and _, no digit and not __ first" $name) }}
{{- end }}
{{- end }}
{{- include "holdfast.validateSecrets" (dict "at" "metrics.pushgateway" "in" (omit . "labels")) }}
{{- end }}
{{- end }}
