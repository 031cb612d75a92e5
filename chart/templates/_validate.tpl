{{- define "holdfast.validate" -}}
{{- end }}
