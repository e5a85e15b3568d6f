{{/* Which entries the chart's own Secret has, and which were given. */}}
{{- define "logux-proxy.gossip" -}}
{{- if and .Values.gossip.enabled (include "logux-proxy.redis.from" .) -}}true{{- end -}}
{{- end -}}

{{/* What is in an entry of the chart's own Secret now, or "". Call with (list $ key). */}}
{{- define "logux-proxy.kept" -}}
{{- $root := index . 0 -}}
{{- $old := lookup "v1" "Secret" $root.Release.Namespace (include "logux-proxy.fullname" $root) -}}
{{- dig "data" (index . 1) "" (default dict $old) | b64dec -}}
{{- end -}}

{{/* Entries of the chart's own Secret as JSON. What is made by chance is made once and kept across upgrades. */}}
{{- define "logux-proxy.secretData" -}}
{{- $v := .Values -}}
{{- $data := dict -}}
{{- if not $v.controlSecret.existingSecret -}}
{{- $_ := set $data "control-secret" (coalesce $v.controlSecret.value (include "logux-proxy.kept" (list . "control-secret")) (randAlphaNum 32)) -}}
{{- end -}}
{{- if and (include "logux-proxy.gossip" .) (not $v.gossip.existingSecret) -}}
{{- $_ := set $data "gossip-key" (coalesce $v.gossip.value (include "logux-proxy.kept" (list . "gossip-key")) (randBytes 32)) -}}
{{- end -}}
{{- if eq (include "logux-proxy.redis.from" .) "url" -}}
{{- $_ := set $data "redis-url" $v.redis.url -}}
{{- else if and (eq (include "logux-proxy.redis.from" .) "parts") (eq (include "logux-proxy.redis.kept" .) "file") -}}
{{- $_ := set $data "redis-url" (include "logux-proxy.redis.url" .) -}}
{{- end -}}
{{- if eq (include "logux-proxy.redis.from" .) "development" -}}
{{- $_ := set $data "redis-password" (coalesce (include "logux-proxy.kept" (list . "redis-password")) (randAlphaNum 32)) -}}
{{- end -}}
{{- toJson $data -}}
{{- end -}}

{{/*
Changes when something changes that the proxy reads only at its start: what was given in the values, and the content of
existing Secrets as far as Helm may look at them. Not what was made by chance, which never changes, and not gossip keys and
certificates of wss://, which are read again.
*/}}
{{- define "logux-proxy.secretsChecksum" -}}
{{- $v := .Values -}}
{{- $namespace := .Release.Namespace -}}
{{- $all := list $v.controlSecret.value $v.redis.url $v.redis.password $v.redis.sentinel.password -}}
{{- range list $v.controlSecret.existingSecret $v.redis.existingSecret $v.redis.passwordSecret.name $v.redis.sentinel.passwordSecret.name $v.redis.tls.existingSecret $v.backend.tls.existingSecret -}}
{{- if . -}}{{- $all = append $all (dig "data" dict (default dict (lookup "v1" "Secret" $namespace .))) -}}{{- end -}}
{{- end -}}
{{- toJson $all | sha256sum -}}
{{- end -}}
