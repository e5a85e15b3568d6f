{{/* The proxy's settings as environment variables of the container. */}}
{{- define "logux-proxy.env" -}}
{{- $v := .Values -}}
{{- $redis := include "logux-proxy.redis.from" . -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- {name: LOGUX_ENV, value: production}
- {name: LOGUX_ID, value: $(POD_NAME)}
- {name: LOGUX_HOST, value: {{ $v.bindAddress | quote }}}
- {name: LOGUX_PORT, value: {{ int $v.ports.websocket | quote }}}
- {name: LOGUX_CONTROL_ADDR, value: {{ include "logux-proxy.bind" (list . $v.ports.control) | quote }}}
- {name: LOGUX_ADMIN_ADDR, value: {{ include "logux-proxy.bind" (list . $v.ports.admin) | quote }}}
- {name: LOGUX_BACKEND, value: {{ $v.backend.url | quote }}}
{{- if $v.backend.tls.existingSecret }}
{{- range $name := list "ca" "cert" "key" }}
{{- with get $v.backend.tls $name }}
- {name: LOGUX_BACKEND_{{ upper $name }}, value: /etc/logux-proxy/backend-tls/{{ . }}}
{{- end }}
{{- end }}
{{- end }}
- {name: LOGUX_CONTROL_SECRET_FILE, value: /etc/logux-proxy/secrets/control-secret}
- {name: LOGUX_CONTROL_MASK, value: {{ join "," $v.control.mask | quote }}}
{{- with $v.control.path }}
- {name: LOGUX_CONTROL_PATH, value: {{ . | quote }}}
{{- end }}
{{- with $v.origins }}
- {name: LOGUX_ORIGINS, value: {{ join "," . | quote }}}
{{- end }}
{{- with include "logux-proxy.trustedProxies" . }}
- {name: LOGUX_TRUSTED_PROXIES, value: {{ . | quote }}}
{{- end }}
{{- if $v.tls.existingSecret }}
- {name: LOGUX_CERT, value: /etc/logux-proxy/tls/tls.crt}
- {name: LOGUX_KEY, value: /etc/logux-proxy/tls/tls.key}
{{- end }}
{{- if eq (include "logux-proxy.redis.kept" .) "file" }}
- {name: LOGUX_REDIS_FILE, value: /etc/logux-proxy/secrets/redis-url}
{{- else if $redis }}
{{- if eq $redis "development" }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "logux-proxy.fullname" . }}, key: redis-password}}
{{- else if $v.redis.passwordSecret.name }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $v.redis.passwordSecret.name | quote }}, key: {{ $v.redis.passwordSecret.key | quote }}}}
{{- end }}
{{- if and (eq $v.redis.kind "sentinel") $v.redis.sentinel.passwordSecret.name }}
- name: REDIS_SENTINEL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $v.redis.sentinel.passwordSecret.name | quote }}, key: {{ $v.redis.sentinel.passwordSecret.key | quote }}}}
{{- end }}
- {name: LOGUX_REDIS, value: {{ include "logux-proxy.redis.url" . | quote }}}
{{- end }}
{{- if include "logux-proxy.gossip" . }}
- {name: LOGUX_GOSSIP_ADDR, value: {{ include "logux-proxy.bind" (list . $v.ports.gossip) | quote }}}
- {name: LOGUX_GOSSIP_ADVERTISE, value: $(POD_IP)}
- {name: LOGUX_GOSSIP_KEY_FILE, value: /etc/logux-proxy/secrets/gossip-key}
- {name: LOGUX_JOIN, value: {{ include "logux-proxy.fullname" . }}-gossip.{{ .Release.Namespace }}.svc}
- {name: LOGUX_CLUSTER, value: {{ include "logux-proxy.cluster" . | quote }}}
{{- end }}
{{- with $v.tracing.url }}
- {name: LOGUX_TRACE, value: {{ . | quote }}}
- {name: LOGUX_TRACE_RATIO, value: {{ $v.tracing.ratio | toString | quote }}}
{{- end }}
- {name: LOGUX_DRAIN_GRACE, value: {{ $v.drain.grace | quote }}}
- {name: LOGUX_DRAIN_TIME, value: {{ $v.drain.time | quote }}}
{{- with dig "limits" "memory" "" $v.resources }}
- {name: GOMEMLIMIT, value: {{ div (mul (include "logux-proxy.bytes" . | int64) (int $v.goMemoryLimit)) 100 | quote }}}
{{- end }}
{{- range $name, $value := $v.settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
