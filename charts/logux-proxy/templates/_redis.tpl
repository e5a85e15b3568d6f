{{/* Where the URL of Redis comes from: "existing" or "url" (a Secret's file), "parts", "development", or "" for no Redis. */}}
{{- define "logux-proxy.redis.from" -}}
{{- $r := .Values.redis -}}
{{- if $r.existingSecret -}}existing
{{- else if $r.url -}}url
{{- else if $r.hosts -}}parts
{{- else if $r.development.enabled -}}development
{{- end -}}
{{- end -}}

{{/* The file or the variable that holds it: "file" or "variable". A password from somebody else's Secret is put into a variable by Kubernetes; everything else with a password is a file. */}}
{{- define "logux-proxy.redis.kept" -}}
{{- $r := .Values.redis -}}
{{- $from := include "logux-proxy.redis.from" . -}}
{{- if or (eq $from "existing") (eq $from "url") -}}file
{{- else if and (eq $from "parts") (or $r.password $r.sentinel.password) -}}file
{{- else if $from -}}variable
{{- end -}}
{{- end -}}

{{/* A text as it stands in a URL. */}}
{{- define "logux-proxy.redis.escape" -}}
{{- urlquery . | replace "+" "%20" -}}
{{- end -}}

{{/* The URL, from its parts. */}}
{{- define "logux-proxy.redis.url" -}}
{{- $r := .Values.redis -}}
{{- if eq (include "logux-proxy.redis.from" .) "development" -}}
redis://:$(REDIS_PASSWORD)@{{ include "logux-proxy.fullname" . }}-redis:6379
{{- else -}}
{{- $scheme := ternary "rediss" "redis" $r.tls.enabled -}}
{{- if has $r.kind (list "sentinel" "cluster") -}}{{- $scheme = printf "%s+%s" $scheme $r.kind -}}{{- end -}}
{{- $login := "" -}}
{{- $password := include "logux-proxy.redis.escape" $r.password -}}
{{- if $r.passwordSecret.name -}}{{- $password = "$(REDIS_PASSWORD)" -}}{{- end -}}
{{- if $password -}}{{- $login = printf "%s:%s@" (include "logux-proxy.redis.escape" $r.username) $password -}}{{- end -}}
{{- $path := "" -}}
{{- if eq $r.kind "sentinel" -}}{{- $path = printf "/%s" $r.master -}}{{- end -}}
{{- if $r.database -}}{{- $path = printf "%s/%d" $path (int $r.database) -}}{{- end -}}
{{- $query := list -}}
{{- if $r.prefix -}}{{- $query = append $query (printf "prefix=%s" (include "logux-proxy.redis.escape" $r.prefix)) -}}{{- end -}}
{{- if $r.tls.enabled -}}
{{- $tls := $r.tls -}}
{{- if $tls.existingSecret -}}
{{- range $name := list "ca" "cert" "key" -}}
{{- with get $tls $name -}}{{- $query = append $query (printf "%s=/etc/logux-proxy/redis-tls/%s" $name .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with $tls.serverName -}}{{- $query = append $query (printf "server_name=%s" (include "logux-proxy.redis.escape" .)) -}}{{- end -}}
{{- end -}}
{{- if eq $r.kind "sentinel" -}}
{{- with $r.sentinel.username -}}{{- $query = append $query (printf "sentinel_user=%s" (include "logux-proxy.redis.escape" .)) -}}{{- end -}}
{{- if $r.sentinel.passwordSecret.name -}}
{{- $query = append $query "sentinel_password=$(REDIS_SENTINEL_PASSWORD)" -}}
{{- else if $r.sentinel.password -}}
{{- $query = append $query (printf "sentinel_password=%s" (include "logux-proxy.redis.escape" $r.sentinel.password)) -}}
{{- end -}}
{{- end -}}
{{- $tail := $path -}}
{{- if $query -}}{{- $tail = printf "%s?%s" $path (join "&" $query) -}}{{- end -}}
{{- if eq $r.kind "shards" -}}
{{- $urls := list -}}
{{- range $r.hosts -}}{{- $urls = append $urls (printf "%s://%s%s%s" $scheme $login . $tail) -}}{{- end -}}
{{- join "," $urls -}}
{{- else -}}
{{- printf "%s://%s%s%s" $scheme $login (join "," $r.hosts) $tail -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Ports that Redis may be at, for the NetworkPolicy. */}}
{{- define "logux-proxy.redis.ports" -}}
{{- $r := .Values.redis -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.egress.redisPorts -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- if not $ports -}}
{{- if eq (include "logux-proxy.redis.from" .) "parts" -}}
{{- range $r.hosts -}}{{- $ports = append $ports (int (default (ternary "26379" "6379" (eq $r.kind "sentinel")) (regexFind ":[0-9]+$" . | trimPrefix ":"))) -}}{{- end -}}
{{- if eq $r.kind "sentinel" -}}{{- $ports = append $ports 6379 -}}{{- end -}}
{{- else if eq (include "logux-proxy.redis.from" .) "development" -}}
{{- $ports = list 6379 -}}
{{- else -}}
{{- $ports = list 6379 26379 -}}
{{- end -}}
{{- end -}}
{{- toJson (uniq $ports) -}}
{{- end -}}
