{{/*
Annotations that a WebSocket needs at each kind of ingress controller: an hour of silence is allowed though clients are
asked after 20 s, new connections go where there are fewest, and a pod that ends TLS itself is spoken to by TLS.
*/}}
{{- define "logux-proxy.ingressAnnotations" -}}
{{- $tls := ne .Values.tls.existingSecret "" -}}
{{- $controller := .Values.ingress.controller -}}
{{- if eq $controller "nginx" -}}
nginx.ingress.kubernetes.io/proxy-read-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-send-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-http-version: "1.1"
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.ingress.kubernetes.io/load-balance: ewma
{{- if $tls }}
nginx.ingress.kubernetes.io/backend-protocol: HTTPS
{{- end }}
{{- else if eq $controller "nginx-inc" -}}
{{- $service := include "logux-proxy.fullname" . -}}
nginx.org/websocket-services: {{ $service }}
nginx.org/proxy-read-timeout: 1h
nginx.org/proxy-send-timeout: 1h
nginx.org/lb-method: least_conn
{{- if $tls }}
nginx.org/ssl-services: {{ $service }}
{{- end }}
{{- else if eq $controller "haproxy" -}}
haproxy.org/timeout-tunnel: 1h
haproxy.org/load-balance: leastconn
haproxy-ingress.github.io/timeout-tunnel: 1h
haproxy-ingress.github.io/balance-algorithm: leastconn
{{- if $tls }}
haproxy.org/server-ssl: "true"
haproxy-ingress.github.io/backend-protocol: h1-ssl
{{- end }}
{{- else if eq $controller "traefik" -}}
traefik.ingress.kubernetes.io/router.entrypoints: {{ ternary "websecure" "web" (gt (len .Values.ingress.tls) 0) }}
{{- if .Values.ingress.tls }}
traefik.ingress.kubernetes.io/router.tls: "true"
{{- end }}
{{- else if eq $controller "alb" -}}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/backend-protocol: {{ ternary "HTTPS" "HTTP" $tls }}
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds=3600
alb.ingress.kubernetes.io/target-group-attributes: deregistration_delay.timeout_seconds={{ min 3600 (include "logux-proxy.graceSeconds" . | int) }},load_balancing.algorithm.type=least_outstanding_requests
alb.ingress.kubernetes.io/healthcheck-path: /health
alb.ingress.kubernetes.io/healthcheck-interval-seconds: "5"
alb.ingress.kubernetes.io/healthcheck-timeout-seconds: "2"
{{- end -}}
{{- end -}}

{{/* Annotations of the Service, for controllers that look there. */}}
{{- define "logux-proxy.serviceAnnotations" -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.controller "traefik") .Values.tls.existingSecret -}}
traefik.ingress.kubernetes.io/service.serversscheme: https
{{- end -}}
{{- end -}}
