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
