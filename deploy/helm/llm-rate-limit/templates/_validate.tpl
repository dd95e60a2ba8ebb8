{{/* What the schema of the values cannot say in words that help. */}}
{{- define "llm-rate-limit.validate" -}}
{{- $tls := .Values.redis.tls -}}
{{- $gateway := .Values.gateway -}}
{{- if and .Values.limits .Values.limitsConfigMap -}}
{{- fail "cannot use limits together with limitsConfigMap: accepted is one of them" -}}
{{- end -}}
{{- if and .Values.descriptors .Values.descriptorsConfigMap -}}
{{- fail "cannot use descriptors together with descriptorsConfigMap: accepted is one of them" -}}
{{- end -}}
{{- if and $tls.secret (not .Values.redis.urlSecret.name) (not (hasPrefix "rediss" .Values.redis.url)) -}}
{{- fail (printf "cannot use redis.tls.secret with redis.url=%s: accepted are URLs that begin with rediss" .Values.redis.url) -}}
{{- end -}}
{{- if ne (empty $tls.certKey) (empty $tls.keyKey) -}}
{{- fail "cannot use one of redis.tls.certKey and redis.tls.keyKey: accepted are both, or none" -}}
{{- end -}}
{{- if $gateway.enabled -}}
{{- if hasKey .Values.options "REPLICAS" -}}
{{- fail "cannot use options.REPLICAS with gateway.enabled: gateway.replicas says how many share a limit" -}}
{{- end -}}
{{- $ports := list $gateway.port -}}
{{- if $gateway.metrics.enabled }}{{ $ports = append $ports $gateway.metrics.port }}{{ end -}}
{{- if .Values.listen.port }}{{ $ports = append $ports .Values.listen.port }}{{ end -}}
{{- if ne (len $ports) (len (uniq $ports)) -}}
{{- fail "cannot use one port twice: accepted are different ones for gateway.port, gateway.metrics.port and listen.port" -}}
{{- end -}}
{{- if and $gateway.metrics.annotations $gateway.metrics.podMonitor.enabled -}}
{{- fail "cannot use gateway.metrics.annotations together with podMonitor.enabled: Prometheus would scrape twice; accepted is one of them" -}}
{{- end -}}
{{- if and $gateway.metrics.podMonitor.enabled (not $gateway.metrics.enabled) -}}
{{- fail "cannot use gateway.metrics.podMonitor.enabled without gateway.metrics.enabled: there would be no port to scrape" -}}
{{- end -}}
{{- end -}}
{{- end -}}
