{{/*
How fast pods come and go. Out: at once, because new connections find the full pods first. In: slowly, because each pod that
goes sends its clients to the others, and by one pod at a time, which has to be gone before the next one goes.
*/}}
{{- define "logux-proxy.autoscaling.behavior" -}}
{{- if .Values.autoscaling.behavior -}}
{{- toYaml .Values.autoscaling.behavior -}}
{{- else -}}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - {type: Percent, value: 100, periodSeconds: 30}
    - {type: Pods, value: 2, periodSeconds: 30}
scaleDown:
  stabilizationWindowSeconds: 600
  selectPolicy: Max
  policies:
    - {type: Pods, value: 1, periodSeconds: {{ min 1800 (max 120 (include "logux-proxy.graceSeconds" . | int)) }}}
{{- end -}}
{{- end -}}

{{/*
The number of pods as it is written down, with an annotation of the Deployment that says why, as JSON. With autoscaling there is
none: it would be what each upgrade goes back to. Only a release that had one before keeps writing down how many there are,
because Kubernetes takes a number that goes for 1, and would end all other pods at once.
*/}}
{{- define "logux-proxy.autoscaling.replicas" -}}
{{- $by := "logux-proxy/replicas" -}}
{{- if not .Values.autoscaling.enabled -}}
{{- dict "number" (include "logux-proxy.replicas" . | int) "annotations" dict | toJson -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "logux-proxy.fullname" .) | default dict -}}
{{- if or (not $live) (eq (dig "metadata" "annotations" $by "" $live) "autoscaler") -}}
{{- dict "annotations" (dict $by "autoscaler") | toJson -}}
{{- else -}}
{{- dict "number" (dig "spec" "replicas" 1 $live | int) "annotations" (dict $by "kept") | toJson -}}
{{- end -}}
{{- end -}}
{{- end -}}
