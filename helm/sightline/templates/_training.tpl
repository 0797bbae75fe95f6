{{/* The spec of a Job that retrains where something has changed. */}}
{{- define "sightline.trainingJob" -}}
{{- $training := .Values.training -}}
backoffLimit: {{ int64 $training.retries }}
{{- if not $training.schedule }}
# A CronJob has a history, and bounds it itself.
ttlSecondsAfterFinished: {{ int64 $training.keepFinishedSeconds }}
{{- end }}
podFailurePolicy:
  rules:
    # A node that is drained or a pod that is preempted: the next goes on from the checkpoint, and it does not count.
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
    # Ended by SIGTERM or SIGUSR1, with the state saved.
    - action: Ignore
      onExitCodes: {containerName: train, operator: In, values: [138, 143]}
    # An error that is the user's to mend, and a model that the gate has refused: again would be the same.
    - action: FailJob
      onExitCodes: {containerName: train, operator: In, values: [2, 3]}
template:
  metadata:
    labels:
      {{- include "sightline.labels" . | nindent 6 }}
      app.kubernetes.io/component: training
  spec:
    restartPolicy: Never
    terminationGracePeriodSeconds: {{ int64 $training.gracePeriodSeconds }}
    {{- with $training.serviceAccountName }}
    serviceAccountName: {{ . }}
    {{- end }}
    automountServiceAccountToken: false
    # A Service named mlflow would set MLFLOW_PORT, which MLflow reads as something else.
    enableServiceLinks: false
    # The first process of a namespace is not ended by SIGTERM while Python starts.
    shareProcessNamespace: true
    {{- with .Values.image.pullSecrets }}
    imagePullSecrets:
      {{- range . }}
      - name: {{ . }}
      {{- end }}
    {{- end }}
    {{- with $training.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $training.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      runAsNonRoot: true
      runAsUser: 10001
      runAsGroup: 10001
      fsGroup: 10001
      fsGroupChangePolicy: OnRootMismatch
      seccompProfile: {type: RuntimeDefault}
    containers:
      - name: train
        image: {{ include "sightline.imageOf" (dict "root" . "repository" $training.imageRepository "name" "sightline-train" "tag" $training.imageTag) | quote }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        # The lease of a pod that was killed keeps the next one waiting, and no longer than that.
        args: [retrain, --config, /config/train.yaml, --wait=60]
        env:
          - {name: MLFLOW_TRACKING_URI, value: {{ .Values.mlflow.trackingUri | quote }}}
          - {name: MLFLOW_DISABLE_TELEMETRY, value: "true"}
          # What is fetched stays for the pod that takes over.
          - {name: XDG_CACHE_HOME, value: /runs/.cache}
          # Otherwise there is a thread for every core of the node, and the limit stops all of them.
          {{- range list "OMP_NUM_THREADS" "SIGHTLINE_TRAIN_DATA__THREADS" }}
          - name: {{ . }}
            valueFrom:
              resourceFieldRef: {containerName: train, resource: limits.cpu, divisor: "1"}
          {{- end }}
          {{- if $training.dataClaimName }}
          - {name: SIGHTLINE_TRAIN_DATA__ROOT, value: /data}
          {{- end }}
        {{- $secrets := empty .Values.mlflow.credentialsSecret | ternary $training.envSecrets (prepend $training.envSecrets .Values.mlflow.credentialsSecret) }}
        {{- with $secrets }}
        envFrom:
          {{- range . }}
          - secretRef: {name: {{ . }}}
          {{- end }}
        {{- end }}
        resources:
          {{- toYaml $training.resources | nindent 10 }}
        securityContext:
          {{- include "sightline.containerSecurity" . | nindent 10 }}
        volumeMounts:
          - {name: config, mountPath: /config, readOnly: true}
          - {name: runs, mountPath: /runs}
          - {name: tmp, mountPath: /tmp}
          {{- if $training.dataClaimName }}
          - {name: data, mountPath: /data, readOnly: true}
          {{- end }}
    volumes:
      - name: config
        configMap: {name: {{ include "sightline.name" . }}-training}
      - name: runs
        persistentVolumeClaim: {claimName: {{ $training.runsClaimName }}}
      - name: tmp
        emptyDir: {}
      {{- with $training.dataClaimName }}
      - name: data
        persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
      {{- end }}
{{- end }}
