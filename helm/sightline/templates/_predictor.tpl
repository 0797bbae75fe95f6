{{/*
The InferenceService's predictor, of the first model and of the canary.
Arguments: root, name, uri, version, imageTag, scaling (YAML of replicas and autoscaler), annotations (none if missing).
*/}}
{{- define "sightline.predictor" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $standard := eq $values.deploymentMode "Standard" -}}
{{ .scaling }}
{{- with merge (dict) (.annotations | default dict) $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and .uri $values.model.storageContainer (not (include "sightline.fetchesItself" .)) }}
storageContainerName: {{ $values.model.storageContainer }}
{{- else if and (hasPrefix "mlflow://" .uri) (not (include "sightline.fetchesItself" .)) }}
storageContainerName: {{ $values.storageContainers.mlflow.name }}
{{- end }}
{{- if $standard }}
timeout: {{ include "sightline.gatewayTimeoutSeconds" $root }}
terminationGracePeriodSeconds: {{ include "sightline.graceSeconds" $root }}
deploymentStrategy:
  type: RollingUpdate
  rollingUpdate:
    maxSurge: {{ include "sightline.scalar" $values.rollout.maxSurge }}
    maxUnavailable: {{ include "sightline.scalar" $values.rollout.maxUnavailable }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- if $values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels: {app: isvc.{{ $.name }}-predictor}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- else }}
# Knative gives pods this as their grace period, too, and has no field for it.
timeout: {{ include "sightline.graceSeconds" $root }}
{{- end }}
serviceAccountName: {{ include "sightline.serviceAccount" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $ours := eq $values.profile "gpu" | ternary $values.profiles.gpu.tolerations list }}
{{- with concat $ours $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: kserve-container
    image: {{ include "sightline.image" (dict "root" $root "tag" .imageTag) | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    # The first port is the one that KServe routes HTTP to.
    ports:
      {{- if $standard }}
      - {name: http, containerPort: 8080, protocol: TCP}
      - {name: grpc, containerPort: 8081, protocol: TCP}
      {{- else }}
      - {name: http1, containerPort: 8080, protocol: TCP}
      {{- end }}
    env:
      {{- include "sightline.env" . | trim | nindent 6 }}
    {{- if and $values.mlflow.credentialsSecret (include "sightline.fetchesItself" .) }}
    envFrom:
      - secretRef: {name: {{ $values.mlflow.credentialsSecret }}}
    {{- end }}
    resources:
      {{- include "sightline.resources" $root | nindent 6 }}
    {{- with $values.probes }}
    startupProbe:
      httpGet: {path: /v2/health/ready, port: 8080}
      periodSeconds: 2
      timeoutSeconds: 2
      failureThreshold: {{ divf .startupSeconds 2 | ceil | int64 }}
    readinessProbe:
      httpGet: {path: /v2/health/ready, port: 8080}
      periodSeconds: {{ int64 .readinessPeriodSeconds }}
      timeoutSeconds: 2
      successThreshold: 1
      failureThreshold: 2
    livenessProbe:
      httpGet: {path: /v2/health/live, port: 8080}
      periodSeconds: {{ int64 .livenessPeriodSeconds }}
      timeoutSeconds: 5
      failureThreshold: 6
    {{- end }}
    {{- if and $standard $values.shutdown.preStopSleepSeconds }}
    lifecycle:
      preStop:
        sleep: {seconds: {{ int64 $values.shutdown.preStopSleepSeconds }}}
    {{- end }}
    securityContext:
      {{- include "sightline.containerSecurity" $root | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if $values.engineCache.claimName }}
      - {name: engine-cache, mountPath: /var/cache/sightline}
      {{- end }}
      {{- if $values.requestLog.enabled }}
      - {name: request-log, mountPath: /var/log/sightline}
      {{- end }}
      {{- if $values.token.secretName }}
      - {name: token, mountPath: /etc/sightline/token, readOnly: true}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- with $values.engineCache.claimName }}
  - name: engine-cache
    persistentVolumeClaim: {claimName: {{ . }}}
  {{- end }}
  {{- if $values.requestLog.enabled }}
  - name: request-log
    {{- with $values.requestLog.claimName }}
    persistentVolumeClaim: {claimName: {{ . }}}
    {{- else }}
    emptyDir:
      sizeLimit: {{ mulf $values.settings.request_log_max_bytes (addf $values.settings.request_log_files 1) | int64 | quote }}
    {{- end }}
  {{- end }}
  {{- with $values.token }}
  {{- if .secretName }}
  - name: token
    secret:
      secretName: {{ .secretName }}
      items:
        - {key: {{ .key }}, path: tokens}
  {{- end }}
  {{- end }}
{{- end }}

{{/* Arguments: as of the predictor. */}}
{{- define "sightline.env" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- if include "sightline.fetchesItself" . }}
- {name: SIGHTLINE_BUNDLE, value: {{ .uri | replace "mlflow://" "models:/" | quote }}}
- {name: MLFLOW_TRACKING_URI, value: {{ $values.mlflow.trackingUri | quote }}}
{{- else }}
# KServe fetches what this names, and puts the place of it here.
- {name: STORAGE_URI, value: {{ .uri | quote }}}
{{- end }}
- {name: SIGHTLINE_MODEL_NAME, value: {{ include "sightline.modelName" $root | quote }}}
{{- /* A version of the registry that KServe's init container fetched is known from its address alone. */}}
{{- $registered := trimPrefix "/" (regexFind "/[0-9]+$" (hasPrefix "mlflow://" .uri | ternary .uri "")) }}
{{- with .version | default $registered }}
- {name: SIGHTLINE_MODEL_VERSION, value: {{ include "sightline.scalar" . | quote }}}
{{- end }}
- {name: SIGHTLINE_DEVICE, value: {{ eq $values.profile "gpu" | ternary "cuda" "cpu" }}}
- {name: SIGHTLINE_CACHE_DIR, value: {{ empty $values.engineCache.claimName | ternary "/tmp/sightline" "/var/cache/sightline" }}}
{{- range $name, $value := $values.settings }}
{{- if not (kindIs "invalid" $value) }}
- {name: SIGHTLINE_{{ upper $name }}, value: {{ include "sightline.scalar" $value | quote }}}
{{- end }}
{{- end }}
{{- if $values.requestLog.claimName }}
- name: POD_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
{{- end }}
{{- if $values.requestLog.enabled }}
- {name: SIGHTLINE_REQUEST_LOG, value: /var/log/sightline/{{ empty $values.requestLog.claimName | ternary "requests" "$(POD_NAME)" }}.jsonl}
{{- end }}
{{- if $values.token.secretName }}
- {name: SIGHTLINE_TOKEN_FILE, value: /etc/sightline/token/tokens}
{{- end }}
{{- with $values.tracing }}
{{- if .endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .endpoint | quote }}}
- {name: OTEL_SERVICE_NAME, value: {{ $.name | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ include "sightline.scalar" .ratio | quote }}}
{{- end }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
