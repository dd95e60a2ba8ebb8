{{- define "llm-rate-limit.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "llm-rate-limit.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "llm-rate-limit.labels" -}}
{{ include "llm-rate-limit.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* An image of the values, with this tag where they name none: (list image tag) */}}
{{- define "llm-rate-limit.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end -}}
{{- end -}}

{{/* Nobody here needs a right of root's, nor to write anywhere but into volumes: (list user group) */}}
{{- define "llm-rate-limit.security" -}}
runAsNonRoot: true
runAsUser: {{ index . 0 | int64 }}
runAsGroup: {{ index . 1 | int64 }}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "llm-rate-limit.limitsMap" -}}
{{- if .Values.limitsConfigMap }}{{ .Values.limitsConfigMap }}
{{- else if .Values.limits }}{{ include "llm-rate-limit.name" . }}-limits
{{- end -}}
{{- end -}}

{{- define "llm-rate-limit.descriptorsMap" -}}
{{- if .Values.descriptorsConfigMap }}{{ .Values.descriptorsConfigMap }}
{{- else if .Values.descriptors }}{{ include "llm-rate-limit.name" . }}-descriptors
{{- end -}}
{{- end -}}

{{/* The ports of Redis that a policy opens, with commas between them. */}}
{{- define "llm-rate-limit.redisPorts" -}}
{{- $given := .Values.gateway.networkPolicy.redisPorts -}}
{{- if $given -}}
{{ range $index, $port := $given }}{{ if $index }},{{ end }}{{ $port | int }}{{ end }}
{{- else if .Values.redis.urlSecret.name -}}
6379
{{- else -}}
{{- $hosts := regexReplaceAll "^[a-z+]*://([^/]*@)?([^/]*).*$" .Values.redis.url "${2}" -}}
{{- $usual := ternary "26379" "6379" (contains "+sentinel:" .Values.redis.url) -}}
{{- $ports := list -}}
{{- range splitList "," $hosts -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default $usual) -}}
{{- end -}}
{{- /* The master's own. */ -}}
{{- if contains "+sentinel:" .Values.redis.url }}{{ $ports = append $ports "6379" }}{{ end -}}
{{ $ports | uniq | join "," }}
{{- end -}}
{{- end -}}
