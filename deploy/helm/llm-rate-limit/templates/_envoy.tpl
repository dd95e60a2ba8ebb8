{{/* The headers that the daemon reads at /v1/auth, with commas between them; Envoy adds Authorization by itself. */}}
{{- define "llm-rate-limit.headers" -}}
{{- $options := .Values.options -}}
{{- $names := list ($options.AUTH_USER_HEADER | default "x-user-id") "x-api-key" "x-forwarded-for" -}}
{{- range splitList "," ($options.AUTH_HEADERS | default "") -}}
{{- if contains "=" . }}{{ $names = append $names (splitList "=" . | last) }}{{ end -}}
{{- end -}}
{{- with $options.AUTH_ID_HEADER }}{{ $names = append $names . }}{{ end -}}
{{ $names | join "," | nospace | lower }}
{{- end -}}

{{/* Envoy before the model's API: each request is charged before it is passed on, as deploy/envoy/envoy.yaml has it. */}}
{{- define "llm-rate-limit.envoy" -}}
{{- $gateway := .Values.gateway -}}
static_resources:
  listeners:
    - name: api
      address:
        socket_address: {address: 0.0.0.0, port_value: {{ $gateway.port | int }}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: api
                use_remote_address: true
                route_config:
                  virtual_hosts:
                    - name: model
                      domains: ["*"]
                      # A request that passed without a decision says so, and so does the daemon's header.
                      response_headers_to_add:
                        - header: {key: X-Rate-Limit-Degraded, value: "%REQ(x-envoy-auth-failure-mode-allowed)%"}
                      routes:
                        # Not limited: the question whether this gateway is there.
                        - match: {path: /health}
                          direct_response: {status: 204}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              disabled: true
                        - match: {prefix: /}
                          route: {cluster: model, timeout: {{ $gateway.upstream.timeoutSeconds | int }}s, auto_host_rewrite: true}
                http_filters:
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      # Whether a request passes where the daemon does not answer, or answers 503, as it does with closed.
                      failure_mode_allow: {{ ne (toString .Values.options.FAILURE_MODE) "closed" }}
                      failure_mode_allow_header_add: true
                      status_on_error: {code: ServiceUnavailable}
                      allowed_headers:
                        patterns:
                          {{- range include "llm-rate-limit.headers" . | splitList "," }}
                          - exact: {{ . }}
                          {{- end }}
                      http_service:
                        server_uri: {uri: "http://llm-rate-limit", cluster: llm_rate_limit, timeout: 0.2s}
                        # The client's path and query follow; "-" keeps them from meaning deny-403.
                        path_prefix: /v1/auth/-
                        authorization_response:
                          allowed_client_headers:
                            patterns: [{exact: retry-after}, {prefix: ratelimit}, {prefix: x-ratelimit}, {prefix: x-rate-limit}, {exact: content-type}]
                          allowed_client_headers_on_success:
                            patterns: [{prefix: ratelimit}, {prefix: x-ratelimit}, {prefix: x-rate-limit}]
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    {{- if $gateway.metrics.enabled }}
    # The daemon's metrics, and nothing else of it: who reaches the daemon itself can spend any user's quota.
    - name: metrics
      address:
        socket_address: {address: 0.0.0.0, port_value: {{ $gateway.metrics.port | int }}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: metrics
                route_config:
                  virtual_hosts:
                    - name: metrics
                      domains: ["*"]
                      routes:
                        - match: {path: /metrics, headers: [{name: ":method", string_match: {exact: GET}}]}
                          route: {cluster: llm_rate_limit, timeout: 5s}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    {{- end }}
  clusters:
    - name: model
      type: STRICT_DNS
      connect_timeout: 5s
      load_assignment:
        cluster_name: model
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: {{ $gateway.upstream.host | quote }}, port_value: {{ $gateway.upstream.port | int }}}}}
      {{- if $gateway.upstream.tls }}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: {{ $gateway.upstream.host | quote }}
          common_tls_context:
            validation_context:
              trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt}
              match_typed_subject_alt_names:
                - {san_type: DNS, matcher: {exact: {{ $gateway.upstream.host | quote }}}}
      {{- end }}
    - name: llm_rate_limit
      connect_timeout: 0.1s
      load_assignment:
        cluster_name: llm_rate_limit
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {pipe: {path: /run/llm-rate-limit/llm-rate-limit.sock}}}
{{- end -}}
