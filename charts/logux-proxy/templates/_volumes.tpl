{{/* Volumes and where the container sees them: secrets are files, so that they are in no list of variables and can change. */}}
{{- define "logux-proxy.volumes" -}}
{{- $v := .Values -}}
{{- $own := include "logux-proxy.fullname" . -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ default $own $v.controlSecret.existingSecret | quote }}
          items: [{key: {{ ternary $v.controlSecret.key "control-secret" (ne $v.controlSecret.existingSecret "") | quote }}, path: control-secret}]
      {{- if eq (include "logux-proxy.redis.kept" .) "file" }}
      - secret:
          name: {{ default $own $v.redis.existingSecret | quote }}
          items: [{key: {{ ternary $v.redis.key "redis-url" (ne $v.redis.existingSecret "") | quote }}, path: redis-url}]
      {{- end }}
      {{- if include "logux-proxy.gossip" . }}
      - secret:
          name: {{ default $own $v.gossip.existingSecret | quote }}
          items: [{key: {{ ternary $v.gossip.key "gossip-key" (ne $v.gossip.existingSecret "") | quote }}, path: gossip-key}]
      {{- end }}
{{- range $name, $secret := include "logux-proxy.certificates" . | fromJson }}
- name: {{ $name }}
  secret: {secretName: {{ $secret | quote }}, defaultMode: 0440}
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "logux-proxy.volumeMounts" -}}
- {name: secrets, mountPath: /etc/logux-proxy/secrets, readOnly: true}
{{- range $name, $secret := include "logux-proxy.certificates" . | fromJson }}
- {name: {{ $name }}, mountPath: /etc/logux-proxy/{{ $name }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Folders with certificates and their Secrets, as JSON. */}}
{{- define "logux-proxy.certificates" -}}
{{- $folders := dict -}}
{{- with .Values.backend.tls.existingSecret -}}{{- $_ := set $folders "backend-tls" . -}}{{- end -}}
{{- with .Values.redis.tls.existingSecret -}}{{- $_ := set $folders "redis-tls" . -}}{{- end -}}
{{- with .Values.tls.existingSecret -}}{{- $_ := set $folders "tls" . -}}{{- end -}}
{{- toJson $folders -}}
{{- end -}}
