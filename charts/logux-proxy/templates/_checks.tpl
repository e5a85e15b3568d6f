{{/* Values that the schema cannot compare. Each refusal says what to change. */}}
{{- define "logux-proxy.check" -}}
{{- $v := .Values -}}
{{- $redis := include "logux-proxy.redis.from" . -}}
{{- $_ := required "backend.url is required: set it to the URL of your back-end, such as http://app.default.svc:3000/logux" $v.backend.url -}}
{{- $ways := list -}}
{{- if $v.redis.existingSecret -}}{{- $ways = append $ways "redis.existingSecret" -}}{{- end -}}
{{- if $v.redis.url -}}{{- $ways = append $ways "redis.url" -}}{{- end -}}
{{- if $v.redis.hosts -}}{{- $ways = append $ways "redis.hosts" -}}{{- end -}}
{{- if $v.redis.development.enabled -}}{{- $ways = append $ways "redis.development.enabled" -}}{{- end -}}
{{- if gt (len $ways) 1 -}}
{{- fail (printf "%s are both set: keep one of them" (join " and " (slice $ways 0 2))) -}}
{{- end -}}
{{- if and (not $redis) (or $v.autoscaling.enabled (gt (include "logux-proxy.replicas" . | int) 1)) -}}
{{- fail "more than one pod needs Redis to connect them: set redis.hosts, redis.url or redis.existingSecret (or, to try it, redis.development.enabled)" -}}
{{- end -}}
{{- if and $v.redis.hosts (eq $v.redis.kind "standalone") (gt (len $v.redis.hosts) 1) -}}
{{- fail "redis.hosts holds several hosts and redis.kind is standalone: make it sentinel, cluster or shards" -}}
{{- end -}}
{{- if and (eq $v.redis.kind "cluster") (ne (int $v.redis.database) 0) -}}
{{- fail "redis.database is set: a Redis Cluster has only the database 0" -}}
{{- end -}}
{{- if and $v.redis.password $v.redis.passwordSecret.name -}}
{{- fail "redis.password and redis.passwordSecret are both set: keep one of them" -}}
{{- end -}}
{{- if and $v.redis.sentinel.password $v.redis.sentinel.passwordSecret.name -}}
{{- fail "redis.sentinel.password and redis.sentinel.passwordSecret are both set: keep one of them" -}}
{{- end -}}
{{- if and (eq (include "logux-proxy.redis.kept" .) "file") (eq $redis "parts") (or $v.redis.passwordSecret.name $v.redis.sentinel.passwordSecret.name) -}}
{{- fail "one password of Redis is in the values and one in a Secret: put both into Secrets, or the whole URL into redis.existingSecret" -}}
{{- end -}}
{{- if and $v.redis.username (not $v.redis.password) (not $v.redis.passwordSecret.name) (eq $redis "parts") -}}
{{- fail "redis.username is set without a password: set redis.passwordSecret.name" -}}
{{- end -}}
{{- if and $v.redis.tls.existingSecret (not $v.redis.tls.enabled) (eq $redis "parts") -}}
{{- fail "redis.tls.existingSecret is set and redis.tls.enabled is not" -}}
{{- end -}}
{{- if and $v.controlSecret.value $v.controlSecret.existingSecret -}}
{{- fail "controlSecret.value and controlSecret.existingSecret are both set: keep one of them" -}}
{{- end -}}
{{- if and $v.gossip.value $v.gossip.existingSecret -}}
{{- fail "gossip.value and gossip.existingSecret are both set: keep one of them" -}}
{{- end -}}
{{- if and $v.backend.tls.existingSecret (not (hasPrefix "https://" $v.backend.url)) -}}
{{- fail "backend.tls.existingSecret is set and backend.url is not https://" -}}
{{- end -}}
{{- if $v.autoscaling.enabled -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (not (int $v.autoscaling.connections)) (not (int $v.autoscaling.cpu)) -}}
{{- fail "autoscaling looks at nothing: set autoscaling.connections or autoscaling.cpu" -}}
{{- end -}}
{{- if and (int $v.autoscaling.cpu) (not (dig "requests" "cpu" "" $v.resources)) -}}
{{- fail "autoscaling.cpu is a part of resources.requests.cpu, which is not set" -}}
{{- end -}}
{{- if and (eq $v.autoscaling.kind "keda") (int $v.autoscaling.connections) (not $v.autoscaling.keda.serverAddress) -}}
{{- fail "autoscaling.keda.serverAddress is not set: KEDA asks Prometheus there" -}}
{{- end -}}
{{- end -}}
{{- if $v.podDisruptionBudget.enabled -}}
{{- include "logux-proxy.check.disruptions" . -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor are both enabled: every metric would come twice" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) (not (eq $v.ingress.controller "alb")) -}}
{{- fail "ingress.hosts is empty: name the host that browsers connect to" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: name the Gateway" -}}
{{- end -}}
{{- $ports := dict -}}
{{- range $name, $port := $v.ports -}}
{{- if hasKey $ports (toString $port) -}}
{{- fail (printf "ports.%s and ports.%s are the same" (get $ports (toString $port)) $name) -}}
{{- end -}}
{{- $_ := set $ports (toString $port) $name -}}
{{- end -}}
{{- end -}}

{{/* A budget that never lets a pod go keeps every machine with one from being emptied. Kubernetes rounds percents up. */}}
{{- define "logux-proxy.check.disruptions" -}}
{{- $p := .Values.podDisruptionBudget -}}
{{- $pods := max 1 (ternary .Values.autoscaling.minReplicas (include "logux-proxy.replicas" .) .Values.autoscaling.enabled | int) -}}
{{- if kindIs "invalid" $p.minAvailable -}}
{{- if not (int (toString $p.maxUnavailable | trimSuffix "%")) -}}
{{- fail "podDisruptionBudget.maxUnavailable lets no pod go, so no machine could be emptied: make it 1, or set podDisruptionBudget.enabled to false" -}}
{{- end -}}
{{- else -}}
{{- $stay := $p.minAvailable -}}
{{- if kindIs "string" $stay -}}
{{- $stay = divf (mulf (trimSuffix "%" $stay | float64) $pods) 100.0 | ceil -}}
{{- end -}}
{{- if ge (int $stay) (int $pods) -}}
{{- fail (printf "podDisruptionBudget.minAvailable is %v, and of %d pod(s) none could go, so no machine could be emptied: make it less, or null" $p.minAvailable (int $pods)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
