{{/* Names and labels. A full name leaves room for the 6 + 11 characters that Kubernetes adds to a pod's name, and for our suffixes. */}}
{{- define "logux-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "logux-proxy.fullname" -}}
{{- $name := include "logux-proxy.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "logux-proxy.selectorLabels" -}}
app.kubernetes.io/name: {{ include "logux-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
{{- end -}}

{{/* Labels of the pod of helm test. */}}
{{- define "logux-proxy.testLabels" -}}
app.kubernetes.io/name: {{ include "logux-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{/* Metadata of an object. Call with (dict "root" $ "suffix" "-x" "component" "x" "labels" dict "annotations" dict). */}}
{{- define "logux-proxy.metadata" -}}
{{- $labels := mergeOverwrite (dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "logux-proxy.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_")
  "app.kubernetes.io/component" (default "proxy" .component)
  "app.kubernetes.io/part-of" "logux"
  "app.kubernetes.io/managed-by" .root.Release.Service
) (deepCopy .root.Values.commonLabels) (default dict .labels) -}}
name: {{ include "logux-proxy.fullname" .root }}{{ .suffix }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with mergeOverwrite (deepCopy .root.Values.commonAnnotations) (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "logux-proxy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "logux-proxy.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "logux-proxy.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The name of the cluster, LOGUX_CLUSTER. */}}
{{- define "logux-proxy.cluster" -}}
{{- default (printf "%s.%s" .Release.Namespace (include "logux-proxy.fullname" .) | trunc 64 | trimSuffix "-") .Values.gossip.cluster -}}
{{- end -}}

{{/* host:port to listen on. Call with (list $ port). */}}
{{- define "logux-proxy.bind" -}}
{{- $host := (index . 0).Values.bindAddress -}}
{{- if contains ":" $host -}}{{- $host = printf "[%s]" $host -}}{{- end -}}
{{- printf "%s:%d" $host (int (index . 1)) -}}
{{- end -}}

{{/* CIDRs of private networks. */}}
{{- define "logux-proxy.privateNetworks" -}}
10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7
{{- end -}}

{{/* Whose X-Forwarded-For is believed: private addresses only where nobody but an ingress controller reaches the Service. */}}
{{- define "logux-proxy.trustedProxies" -}}
{{- if kindIs "slice" .Values.trustedProxies -}}
{{- join "," .Values.trustedProxies -}}
{{- else if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (eq .Values.service.type "ClusterIP") -}}
{{- include "logux-proxy.privateNetworks" . -}}
{{- end -}}
{{- end -}}
