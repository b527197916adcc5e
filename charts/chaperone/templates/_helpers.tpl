{{- define "chaperone.name" -}}
{{- .Values.fullnameOverride -}}
{{- end -}}

{{- define "chaperone.labels" -}}
app.kubernetes.io/name: chaperone
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "chaperone.selector" -}}
app.kubernetes.io/name: chaperone
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Full name of an image: (list $ .Values.image) */}}
{{- define "chaperone.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := $image.repository -}}
{{- if $root.Values.registry -}}{{- $repository = printf "%s/%s" $root.Values.registry $image.repository -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "chaperone.caSecret" -}}{{ include "chaperone.name" . }}-ca{{- end -}}
{{- define "chaperone.keysSecret" -}}{{ include "chaperone.name" . }}-keys{{- end -}}
{{- define "chaperone.claim" -}}
{{- default (printf "%s-store" (include "chaperone.name" .)) .Values.store.existingClaim -}}
{{- end -}}

{{/* Namespaces in which nothing is injected: a webhook that fails closed there would keep itself and the cluster from starting. */}}
{{- define "chaperone.namespaceSelector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ uniq (append .Values.webhook.excludedNamespaces .Release.Namespace) | toJson }}
{{- end -}}
