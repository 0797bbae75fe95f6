{{/* The InferenceServices of a release, as YAML documents. */}}
{{- define "sightline.inferenceServices" -}}
{{- $standard := eq .Values.deploymentMode "Standard" }}
{{- $canary := .Values.canary }}
{{- $models := list (dict "name" (include "sightline.name" .) "uri" .Values.model.uri "version" .Values.model.version "imageTag" "" "canary" false) }}
{{- $second := dict "uri" ($canary.uri | default .Values.model.uri) "version" $canary.version "imageTag" $canary.imageTag }}
{{- if and $canary.enabled $standard }}
{{- $models = append $models (merge (dict "name" (include "sightline.canaryName" .) "canary" true) $second) }}
{{- else if $canary.enabled }}
{{- /* One Knative service: what is new gets its share, and the revision before it the rest. */}}
{{- $models = list (merge (dict "name" (include "sightline.name" .) "canary" false) $second) }}
{{- end }}
{{- range $models }}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {{ .name }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "sightline.labels" $ | nindent 4 }}
    {{- if ne $.Values.route.type "kserve" }}
    networking.kserve.io/visibility: cluster-local
    {{- end }}
  annotations:
    serving.kserve.io/deploymentMode: {{ $.Values.deploymentMode }}
    {{- if $standard }}
    serving.kserve.io/autoscalerClass: {{ or .canary (eq $.Values.autoscaling.type "none") | ternary "none" "external" }}
    {{- end }}
spec:
  predictor:
    {{- $scaling := include "sightline.scaling" (dict "root" $ "canary" .canary) }}
    {{- $arguments := merge (dict "root" $ "scaling" $scaling) . }}
    {{- $predictor := include "sightline.predictor" $arguments | trim }}
    {{- if and $.Values.analyst.enabled $standard }}
    {{- /* On the pods, so that the analyst knows which spec they run. */}}
    {{- $predictor = include "sightline.predictor" (merge (dict "annotations" (dict "sightline/revision" (sha256sum $predictor | trunc 16))) $arguments) | trim }}
    {{- end }}
    {{- $predictor | nindent 4 }}
{{- end }}
{{- end }}
