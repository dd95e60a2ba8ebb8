{{/*
For the pod of any chart that has this one among its dependencies. The pod needs all four:

  securityContext: {fsGroup: {{ include "llm-rate-limit.group" $limiter }}}
  initContainers:      llm-rate-limit.container
  volumes:             llm-rate-limit.volumes
  volumeMounts of the container that asks: llm-rate-limit.mount

where $limiter is index .Subcharts "llm-rate-limit", and gateway.enabled is false.
*/}}

{{- define "llm-rate-limit.group" -}}
{{ .Values.group | int64 }}
{{- end -}}

{{/* The sockets' folder. Who asks only connects, and needs to write nothing there. */}}
{{- define "llm-rate-limit.mount" -}}
- {name: llm-rate-limit, mountPath: /run/llm-rate-limit, readOnly: true}
{{- end -}}

{{- define "llm-rate-limit.container" -}}
{{- include "llm-rate-limit.validate" . -}}
{{- $values := .Values -}}
- name: llm-rate-limit
  image: {{ include "llm-rate-limit.image" (list .Values.image .Chart.AppVersion) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  # A native sidecar: it serves before the other containers start, and gets SIGTERM when they have ended.
  restartPolicy: Always
  command: [llm-rate-limit, serve]
  env:
    {{- include "llm-rate-limit.environment" . | nindent 4 }}
  {{- if .Values.listen.port }}
  ports:
    - {name: limiter, containerPort: {{ .Values.listen.port | int }}}
  {{- end }}
  # What starts behind it waits for this.
  startupProbe:
    {{- include "llm-rate-limit.probe" (list . "/readyz") | nindent 4 }}
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 60
  # Without Redis it is alive and ready, and the failure mode answers: a restart would not help.
  livenessProbe:
    {{- include "llm-rate-limit.probe" (list . "/livez") | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  readinessProbe:
    {{- include "llm-rate-limit.probe" (list . "/readyz") | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 2
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "llm-rate-limit.security" (list .Values.user .Values.group) | nindent 4 }}
  volumeMounts:
    - {name: llm-rate-limit, mountPath: /run/llm-rate-limit}
    {{- /* Whole folders: a file that is mounted by subPath never changes. */}}
    {{- if include "llm-rate-limit.limitsMap" . }}
    - {name: llm-rate-limit-limits, mountPath: /etc/llm-rate-limit/limits, readOnly: true}
    {{- end }}
    {{- if include "llm-rate-limit.descriptorsMap" . }}
    - {name: llm-rate-limit-descriptors, mountPath: /etc/llm-rate-limit/descriptors, readOnly: true}
    {{- end }}
    {{- if .Values.redis.login.secret }}
    - {name: llm-rate-limit-login, mountPath: /etc/llm-rate-limit/login, readOnly: true}
    {{- end }}
    {{- if .Values.redis.tls.secret }}
    - {name: llm-rate-limit-tls, mountPath: /etc/llm-rate-limit/tls, readOnly: true}
    {{- end }}
    {{- if .Values.tokens.secret }}
    - {name: llm-rate-limit-tokens, mountPath: /etc/llm-rate-limit/tokens, readOnly: true}
    {{- end }}
{{- end -}}

{{/* One probe: (list context path) */}}
{{- define "llm-rate-limit.probe" -}}
{{- $context := index . 0 -}}
{{- if $context.Values.listen.port -}}
httpGet: {path: {{ index . 1 }}, port: limiter}
{{- else -}}
exec: {command: [llm-rate-limit, health]}
{{- end -}}
{{- end -}}

{{- define "llm-rate-limit.environment" -}}
- name: LLM_RATE_LIMIT_REDIS_URL
  {{- with .Values.redis.urlSecret }}
  {{- if .name }}
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}
  {{- else }}
  value: {{ $.Values.redis.url | quote }}
  {{- end }}
  {{- end }}
- {name: LLM_RATE_LIMIT_SOCKET_GROUP, value: {{ .Values.group | int64 | quote }}}
{{- if include "llm-rate-limit.limitsMap" . }}
- {name: LLM_RATE_LIMIT_LIMITS_FILE, value: /etc/llm-rate-limit/limits/limits.yaml}
{{- end }}
{{- if include "llm-rate-limit.descriptorsMap" . }}
- {name: LLM_RATE_LIMIT_GRPC_SOCKET, value: /run/llm-rate-limit/grpc.sock}
- {name: LLM_RATE_LIMIT_ENVOY_CONFIG, value: /etc/llm-rate-limit/descriptors}
{{- end }}
{{- with .Values.redis.login }}
{{- if .secret }}
{{- if .userKey }}
- {name: LLM_RATE_LIMIT_REDIS_USER_FILE, value: /etc/llm-rate-limit/login/{{ .userKey }}}
{{- end }}
{{- if .passwordKey }}
- {name: LLM_RATE_LIMIT_REDIS_PASSWORD_FILE, value: /etc/llm-rate-limit/login/{{ .passwordKey }}}
{{- end }}
{{- if .sentinelPasswordKey }}
- {name: LLM_RATE_LIMIT_SENTINEL_PASSWORD_FILE, value: /etc/llm-rate-limit/login/{{ .sentinelPasswordKey }}}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.redis.tls }}
{{- if .secret }}
{{- if .caKey }}
- {name: LLM_RATE_LIMIT_REDIS_CA_FILE, value: /etc/llm-rate-limit/tls/{{ .caKey }}}
{{- end }}
{{- if .certKey }}
- {name: LLM_RATE_LIMIT_REDIS_CERT_FILE, value: /etc/llm-rate-limit/tls/{{ .certKey }}}
- {name: LLM_RATE_LIMIT_REDIS_KEY_FILE, value: /etc/llm-rate-limit/tls/{{ .keyKey }}}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.tokens.secret }}
- {name: LLM_RATE_LIMIT_AUTH_SECRET_FILE, value: /etc/llm-rate-limit/tokens/{{ .Values.tokens.key }}}
{{- end }}
{{- if .Values.listen.port }}
- {name: LLM_RATE_LIMIT_LISTEN, value: {{ printf "%s:%d" .Values.listen.address (.Values.listen.port | int) | quote }}}
- {name: LLM_RATE_LIMIT_LISTEN_PUBLIC, value: "yes"}
{{- end }}
{{- if and .Values.gateway.enabled (eq (toString .Values.options.FAILURE_MODE) "local") }}
- {name: LLM_RATE_LIMIT_REPLICAS, value: {{ .Values.gateway.replicas | int | quote }}}
{{- end }}
{{- range $name, $value := .Values.options }}
- {name: {{ if not (hasPrefix "OTEL_" $name) }}LLM_RATE_LIMIT_{{ end }}{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}

{{- define "llm-rate-limit.volumes" -}}
- {name: llm-rate-limit, emptyDir: {sizeLimit: 1Mi}}
{{- with include "llm-rate-limit.limitsMap" . }}
- {name: llm-rate-limit-limits, configMap: {name: {{ . }}}}
{{- end }}
{{- with include "llm-rate-limit.descriptorsMap" . }}
- {name: llm-rate-limit-descriptors, configMap: {name: {{ . }}}}
{{- end }}
{{- with .Values.redis.login.secret }}
- {name: llm-rate-limit-login, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with .Values.redis.tls.secret }}
- {name: llm-rate-limit-tls, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with .Values.tokens.secret }}
- {name: llm-rate-limit-tokens, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- end -}}
