{{/* The analyst's settings, as k8s/rollout/settings.py reads them. */}}
{{- define "sightline.analystSettings" -}}
{{- $analyst := .Values.analyst -}}
mode: {{ .Values.deploymentMode }}
model_name: {{ include "sightline.modelName" . | quote }}
interval_s: {{ include "sightline.scalar" $analyst.intervalSeconds }}
prometheus:
  address: {{ $analyst.prometheus.address | quote }}
  matchers: {{ prepend (compact (list $analyst.prometheus.matchers)) (printf "namespace=%q" .Release.Namespace) | join "," | quote }}
  {{- if $analyst.prometheus.tokenSecretName }}
  token_file: /etc/sightline/prometheus/token
  {{- end }}
{{- if or $analyst.references.claimName $analyst.references.configMapName }}
references:
  folder: /references
  {{- if .Values.token.secretName }}
  token_file: /etc/sightline/token/tokens
  {{- end }}
{{- end }}
{{- if has .Values.autoscaling.type (list "hpa" "keda") }}
autoscaling:
  type: {{ .Values.autoscaling.type }}
  min_replicas: {{ int64 .Values.autoscaling.minReplicas }}
{{- end }}
policy:
  {{- toYaml $analyst.policy | nindent 2 }}
{{- end }}

{{- define "sightline.analystLabels" -}}
{{ include "sightline.labels" . }}
app.kubernetes.io/component: analyst
{{- end }}

{{- define "sightline.analystSelector" -}}
app.kubernetes.io/instance: {{ include "sightline.name" . }}
app.kubernetes.io/component: analyst
{{- end }}

{{- define "sightline.refuseAnalyst" -}}
{{- $values := .Values -}}
{{- $analyst := $values.analyst -}}
{{- $standard := eq $values.deploymentMode "Standard" -}}
{{- if $values.canary.enabled }}
{{- fail "analyst.enabled and canary.enabled are true: both would divide the requests. With the analyst every change of model.uri or image.tag is a canary by itself; set canary.enabled=false." }}
{{- end }}
{{- if and $standard (ne $values.route.type "httpRoute") }}
{{- fail (printf "analyst.enabled is true and route.type is %s: in Standard mode only an HTTPRoute divides requests (KServe 0.20 does not). Set route.type=httpRoute and route.parentRefs, or deploymentMode=Knative." $values.route.type) }}
{{- end }}
{{- if not $analyst.prometheus.address }}
{{- fail "analyst.enabled is true and analyst.prometheus.address is empty: without metrics nothing could be decided; set it to the address of Prometheus, such as http://prometheus-operated.monitoring:9090" }}
{{- end }}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.ingress.prometheus) }}
{{- fail "analyst.enabled and networkPolicy.enabled are true and networkPolicy.ingress.prometheus is empty: the analyst could not reach Prometheus, and no rollout would ever move. Name its pods there." }}
{{- end }}
{{- if eq (int64 $values.autoscaling.minReplicas) 0 }}
{{- fail (printf "analyst.enabled is true and autoscaling.minReplicas is 0: a new model that gets no requests yet has no pod, and so %s. Set autoscaling.minReplicas to at least 1." ($standard | ternary "never becomes ready, and would be rolled back" "no metrics either, and would be held at its first step for ever")) }}
{{- end }}
{{- if and $analyst.references.claimName $analyst.references.configMapName }}
{{- fail "analyst.references.claimName and analyst.references.configMapName are both set; keep the one that has the images" }}
{{- end }}
{{- if and (eq $analyst.policy.on_silence "probe") (not (or $analyst.references.claimName $analyst.references.configMapName)) }}
{{- fail "analyst.policy.on_silence is probe, and analyst.references.claimName and configMapName are empty: there is nothing to send. Name a PersistentVolumeClaim or ConfigMap with images, or set analyst.policy.on_silence=hold." }}
{{- end }}
{{- if and (not $standard) (eq $analyst.policy.on_silence "probe") }}
{{- fail "analyst.policy.on_silence is probe in Knative mode, where a revision without requests has no address to be asked at; set analyst.policy.on_silence=hold" }}
{{- end }}
{{- if eq $analyst.imageTag "latest" }}
{{- fail (printf "analyst.imageTag is \"latest\": nobody could say which analyst has decided. Name a version, or leave it empty for %s." .Chart.AppVersion) }}
{{- end }}
{{- end }}
