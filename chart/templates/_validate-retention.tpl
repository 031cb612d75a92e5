{{/*
How long backups are kept: what lies between the rules, and between the plan and its storages.

  holdfast.validateRetention  (dict "at" PATH "plan" …)
*/}}

{{- define "holdfast.validateRetention" -}}
{{- with .plan.retention }}
{{- include "holdfast.validateRules" (dict "at" $.at "rules" (omit . "storages")) }}
{{- range $name, $rules := .storages }}
{{- $at := printf "%s.storages.%s" $.at $name }}
{{- if not (has $name $.plan.storages) }}
{{- fail (printf "%s: the plan does not write to storage %q (it writes to: %s)" $at $name (join ", " $.plan.storages)) }}
{{- end }}
{{- include "holdfast.validateRules" (dict "at" $at "rules" $rules) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateRules" -}}
{{- $rules := .rules | default dict }}
{{- if and (hasKey $rules "minimum") (eq (len $rules) 1) }}
{{- fail (printf "%s.minimum: without a rule beside it nothing goes; add one of last, maxAge, hourly, daily, weekly, monthly, yearly" .at) }}
{{- end }}
{{- end }}
