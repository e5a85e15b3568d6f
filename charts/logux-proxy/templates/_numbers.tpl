{{/* Seconds of a duration as the proxy's settings have it (1m30s, 500ms), with fractions. */}}
{{- define "logux-proxy.seconds" -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9]+(\\.[0-9]+)?(ms|s|m|h)" (toString .) -1 -}}
{{- $unit := regexFind "(ms|s|m|h)$" . -}}
{{- $number := trimSuffix $unit . | float64 -}}
{{- $sum = addf $sum (mulf $number (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) $unit)) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* Whole seconds from the end of preStop's beginning to the last client's close. */}}
{{- define "logux-proxy.drainSeconds" -}}
{{- $d := .Values.drain -}}
{{- $sum := addf (include "logux-proxy.seconds" $d.grace | float64) (include "logux-proxy.seconds" $d.time | float64) -}}
{{- if include "logux-proxy.preStop" . -}}
{{- $sum = addf $sum (include "logux-proxy.preStop" . | float64) -}}
{{- end -}}
{{- ceil $sum | int -}}
{{- end -}}

{{/* Seconds of the preStop hook, "" for none. Its sleep action is on by default since Kubernetes 1.30. */}}
{{- define "logux-proxy.preStop" -}}
{{- $seconds := include "logux-proxy.seconds" .Values.drain.preStop | float64 | ceil | int -}}
{{- if and (gt $seconds 0) (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $seconds -}}
{{- end -}}
{{- end -}}

{{- define "logux-proxy.graceSeconds" -}}
{{- addf (include "logux-proxy.drainSeconds" . | float64) (include "logux-proxy.seconds" .Values.drain.margin | float64) | ceil | int -}}
{{- end -}}

{{/* Bytes of a Kubernetes quantity (512Mi, 1.5G). */}}
{{- define "logux-proxy.bytes" -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $factors := dict "" 1.0 "k" 1000.0 "M" 1000000.0 "G" 1000000000.0 "T" 1000000000000.0 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- if not (hasKey $factors $unit) -}}
{{- fail (printf "resources.limits.memory is %s: write it as 512Mi or 1Gi" $text) -}}
{{- end -}}
{{- mulf (trimSuffix $unit $text | float64) (get $factors $unit) | int64 -}}
{{- end -}}

{{/* Number of pods without autoscaling. */}}
{{- define "logux-proxy.replicas" -}}
{{- if kindIs "invalid" .Values.replicas -}}
{{- ternary 2 1 (ne (include "logux-proxy.redis.from" .) "") -}}
{{- else -}}
{{- int .Values.replicas -}}
{{- end -}}
{{- end -}}
