{{- define "sightline.name" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{- define "sightline.canaryName" -}}
{{ include "sightline.name" . }}-canary
{{- end }}

{{- define "sightline.primaryName" -}}
{{ include "sightline.name" . }}-primary
{{- end }}

{{- define "sightline.analystName" -}}
{{ include "sightline.name" . }}-analyst
{{- end }}

{{/* On pods, too: no version of the chart, or every release of it would restart them. */}}
{{- define "sightline.labels" -}}
app.kubernetes.io/name: sightline
app.kubernetes.io/instance: {{ include "sightline.name" . }}
app.kubernetes.io/part-of: sightline
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The InferenceServices, as a JSON list: KServe labels their pods with the name. */}}
{{- define "sightline.services" -}}
{{- $name := include "sightline.name" . -}}
{{- $standard := eq .Values.deploymentMode "Standard" -}}
{{- if and .Values.canary.enabled $standard -}}
{{ list $name (include "sightline.canaryName" .) | toJson }}
{{- else if and .Values.analyst.enabled $standard -}}
{{ list $name (include "sightline.primaryName" .) | toJson }}
{{- else -}}
{{ list $name | toJson }}
{{- end -}}
{{- end }}

{{- define "sightline.modelName" -}}
{{ .Values.model.name | default (include "sightline.name" .) }}
{{- end }}

{{- define "sightline.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "sightline.name" .) }}
{{- end }}

{{- define "sightline.standard" -}}
{{ if eq .Values.deploymentMode "Standard" }}true{{ end }}
{{- end }}

{{/* Arguments: root, repository, name, tag. */}}
{{- define "sightline.imageOf" -}}
{{- $image := .root.Values.image -}}
{{- $repository := .repository | default (empty $image.registry | ternary .name (printf "%s/%s" $image.registry .name)) -}}
{{ $repository }}:{{ .tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* Arguments: root, tag (of the canary, or empty). */}}
{{- define "sightline.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "sightline-serve-%s" .root.Values.profile -}}
{{- $tagged := include "sightline.imageOf" (dict "root" .root "repository" $image.repository "name" $name "tag" (.tag | default $image.tag)) -}}
{{- if and $image.digest (not .tag) -}}
{{ $tagged }}@{{ $image.digest }}
{{- else -}}
{{ $tagged }}
{{- end -}}
{{- end }}

{{/* Helm reads numbers as floats, and would write 33554432 as 3.3554432e+07. */}}
{{- define "sightline.scalar" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* From the beginning of a pod's end to SIGKILL: docs/operations.md, SIGTERM. */}}
{{- define "sightline.neededGraceSeconds" -}}
{{- $sleep := empty (include "sightline.standard" .) | ternary 0 .Values.shutdown.preStopSleepSeconds -}}
{{ ceil (addf $sleep .Values.settings.drain_grace_s .Values.settings.timeout_s 5) | int64 }}
{{- end }}

{{- define "sightline.graceSeconds" -}}
{{ .Values.shutdown.gracePeriodSeconds | default (include "sightline.neededGraceSeconds" .) | int64 }}
{{- end }}

{{/* The predictor gives up first, so that clients see its answer and not the gateway's. */}}
{{- define "sightline.gatewayTimeoutSeconds" -}}
{{ ceil (addf .Values.settings.timeout_s 5) | int64 }}
{{- end }}

{{- define "sightline.resources" -}}
{{- $profile := index .Values.profiles .Values.profile -}}
{{ toYaml (.Values.resources | default $profile.resources) }}
{{- end }}

{{/* Whether the predictor fetches the bundle of this address itself. */}}
{{- define "sightline.fetchesItself" -}}
{{- if and (hasPrefix "mlflow://" .uri) (eq .root.Values.mlflow.fetchedBy "predictor") }}true{{ end -}}
{{- end }}

{{- define "sightline.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
