{{/*
Replicas as the InferenceService knows them. With an autoscaler of the chart's it knows none: KServe then leaves the
Deployment's number alone. Arguments: root, canary.
*/}}
{{- define "sightline.scaling" -}}
{{- $scaling := .root.Values.autoscaling -}}
{{- if .canary }}
minReplicas: {{ int64 .root.Values.canary.replicas }}
maxReplicas: {{ int64 .root.Values.canary.replicas }}
{{- else if eq $scaling.type "none" }}
minReplicas: {{ int64 $scaling.minReplicas }}
maxReplicas: {{ int64 $scaling.minReplicas }}
{{- else if eq $scaling.type "knative" }}
minReplicas: {{ int64 $scaling.minReplicas }}
maxReplicas: {{ int64 $scaling.maxReplicas }}
scaleMetric: {{ $scaling.knative.metric }}
scaleTarget: {{ int64 $scaling.knative.target }}
containerConcurrency: {{ int64 $scaling.knative.containerConcurrency }}
{{- end }}
{{- if and (eq .root.Values.deploymentMode "Knative") .root.Values.canary.enabled }}
canaryTrafficPercent: {{ int64 .root.Values.canary.weightPercent }}
{{- end }}
{{- end }}

{{/* Of an HPA, whoever makes it. */}}
{{- define "sightline.scalingBehavior" -}}
scaleDown:
  stabilizationWindowSeconds: {{ int64 .Values.autoscaling.scaleDownStabilizationSeconds }}
  policies:
    - {type: Pods, value: {{ int64 .Values.autoscaling.scaleDownPodsPerMinute }}, periodSeconds: 60}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - {type: Pods, value: 2, periodSeconds: 30}
    - {type: Percent, value: 100, periodSeconds: 30}
{{- end }}
