{{/* The HTTPRoute of a release. */}}
{{- define "sightline.route" -}}
{{- $name := include "sightline.name" . }}
{{- $canary := .Values.canary }}
{{- $backends := list (dict "name" (printf "%s-predictor" $name) "weight" 1) }}
{{- if $canary.enabled }}
{{- $backends = list (dict "name" (printf "%s-predictor" $name) "weight" (sub 100 (int64 $canary.weightPercent))) (dict "name" (printf "%s-canary-predictor" $name) "weight" (int64 $canary.weightPercent)) }}
{{- end }}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  # Not {{ $name }}: that is the name of KServe's, which would stay where route.type was kserve before.
  name: {{ $name }}-route
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "sightline.labels" . | nindent 4 }}
  {{- with .Values.route.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  parentRefs:
    {{- toYaml .Values.route.parentRefs | nindent 4 }}
  {{- with .Values.route.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- if .Values.route.grpc }}
    - matches:
        - path: {type: PathPrefix, value: /inference.GRPCInferenceService}
      {{- if .Values.route.timeouts }}
      timeouts: {request: {{ include "sightline.gatewayTimeoutSeconds" . }}s}
      {{- end }}
      backendRefs:
        {{- range $backends }}
        - {name: {{ .name }}, port: 8081, weight: {{ .weight }}}
        {{- end }}
    {{- end }}
    - matches:
        - path: {type: PathPrefix, value: /}
      {{- if .Values.route.timeouts }}
      timeouts: {request: {{ include "sightline.gatewayTimeoutSeconds" . }}s}
      {{- end }}
      backendRefs:
        {{- range $backends }}
        - {name: {{ .name }}, port: 80, weight: {{ .weight }}}
        {{- end }}
{{- end }}
