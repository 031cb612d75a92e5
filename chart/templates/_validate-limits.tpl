{{/*
How fast a run moves bytes: what the schema cannot say.

  holdfast.validateLimits  (dict "at" PATH "limits" …)
*/}}

{{- define "holdfast.validateLimits" -}}
{{- with .limits }}
{{- $size := kindIs "string" .bytesPerSecond | ternary .bytesPerSecond (int64 .bytesPerSecond | toString) }}
{{- $factor := get (dict "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824) (regexFind "[A-Za-z]+$" $size) | default 1 }}
{{- if lt (mul (regexFind "^[0-9]+" $size | int64) $factor) 65536 }}
{{- fail (printf "%s.bytesPerSecond: %s is less than 64Ki a second" $.at $size) }}
{{- end }}
{{- with .between }}
{{- if eq .from .to }}
{{- fail (printf "%s.between: from and to are the same; leave it out for a limit at all times" $.at) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
