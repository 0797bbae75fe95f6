{{/* What no schema can say: values that are right alone and wrong together. Each names the remedy. */}}
{{- define "sightline.refusals" -}}
{{- $values := .Values -}}
{{- $name := include "sightline.name" . -}}
{{- $standard := eq $values.deploymentMode "Standard" -}}
{{- $scaling := $values.autoscaling -}}
{{- $canary := $values.canary -}}

{{- if or (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) (gt (len $name) 40) }}
{{- fail (printf "the InferenceService's name is %q; accepted: at most 40 lower-case letters, digits and dashes, beginning with a letter. Set fullnameOverride." $name) }}
{{- end }}

{{- if not $values.model.uri }}
{{- fail "model.uri is empty; accepted: the address of a bundle, as in --set model.uri=s3://models/cxr/7" }}
{{- end }}
{{- range $field, $uri := dict "model.uri" $values.model.uri "canary.uri" $canary.uri }}
{{- if $uri }}
{{- include "sightline.refuseUri" (dict "root" $ "field" $field "uri" $uri) }}
{{- end }}
{{- end }}
{{- if and $values.model.storageContainer (regexMatch "^(pvc|oci|oci\\+native)://" $values.model.uri) }}
{{- fail (printf "model.storageContainer is %q, and no container fetches %s: it is mounted. Leave model.storageContainer empty." $values.model.storageContainer $values.model.uri) }}
{{- end }}
{{- if and $values.model.credentialsSecret (not $values.serviceAccount.create) }}
{{- fail (printf "model.credentialsSecret is %q, and serviceAccount.create is false: KServe looks for it in the service account's secrets. Add it to those of %s yourself, or let the chart make the account." $values.model.credentialsSecret (include "sightline.serviceAccount" .)) }}
{{- end }}
{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) }}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty; accepted: the name of a service account that is there" }}
{{- end }}
{{- if and $values.storageContainers.mlflow.create (not $values.mlflow.trackingUri) }}
{{- fail "storageContainers.mlflow.create is true and mlflow.trackingUri is empty; set it to the address of MLflow" }}
{{- end }}

{{- range $field, $tag := dict "image.tag" $values.image.tag "canary.imageTag" $canary.imageTag "training.imageTag" $values.training.imageTag }}
{{- if eq $tag "latest" }}
{{- fail (printf "%s is \"latest\": pods that start at different times would run different code, and a rollback would change nothing. Name a version, or leave it empty for %s." $field $.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- $resources := $values.resources | default (index $values.profiles $values.profile).resources }}
{{- range $part := list "requests" "limits" }}
{{- range $what := list "cpu" "memory" }}
{{- if not (dig $part $what "" $resources) }}
{{- fail (printf "resources.%s has no %s: KServe would fill in its own default, which may contradict the rest. Set resources.%s.%s." $part $what $part $what) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $values.extraEnv }}
{{- if hasPrefix "SIGHTLINE_" .name }}
{{- fail (printf "extraEnv has %s: set it in settings, where it is checked, or by the value that is made for it" .name) }}
{{- end }}
{{- if has .name (list "STORAGE_URI" "PYTHONPATH" "PROTOCOL") }}
{{- fail (printf "extraEnv has %s, which belongs to KServe; leave it out" .name) }}
{{- end }}
{{- end }}

{{- $needed := include "sightline.neededGraceSeconds" . | int64 }}
{{- if lt (include "sightline.graceSeconds" . | int64) $needed }}
{{- fail (printf "shutdown.gracePeriodSeconds is %v, and what has been accepted may take %d s: sleep, settings.drain_grace_s, settings.timeout_s and 5. Raise it, or leave it null." $values.shutdown.gracePeriodSeconds $needed) }}
{{- end }}
{{- $images := $values.settings.max_images }}
{{- if and $images (gt (int64 $images) (int64 $values.settings.max_queue)) }}
{{- fail (printf "settings.max_images is %v, more than settings.max_queue, %v: such a request could never be admitted. Lower the one or raise the other." $images $values.settings.max_queue) }}
{{- end }}
{{- $upload := $values.settings.max_upload_bytes }}
{{- if and $upload (lt (int64 $upload) (int64 $values.settings.max_body_bytes)) }}
{{- fail (printf "settings.max_upload_bytes is %d, less than settings.max_body_bytes, %d: such a request could never be read. Raise the one or lower the other." (int64 $upload) (int64 $values.settings.max_body_bytes)) }}
{{- end }}
{{- if and $values.requestLog.claimName (not $values.requestLog.enabled) }}
{{- fail (printf "requestLog.claimName is %q, and requestLog.enabled is false; set requestLog.enabled=true, or leave the claim out" $values.requestLog.claimName) }}
{{- end }}
{{- if and (eq (toString $values.rollout.maxSurge) "0") (eq (toString $values.rollout.maxUnavailable) "0") }}
{{- fail "rollout.maxSurge and rollout.maxUnavailable are both 0: nothing could ever be rolled out. Set one of them to 1." }}
{{- end }}

{{- include "sightline.refuseScaling" . }}

{{- if and (eq $values.route.type "httpRoute") (not $values.route.parentRefs) }}
{{- fail "route.type is httpRoute and route.parentRefs is empty; name the Gateway: --set route.parentRefs[0].name=...,route.parentRefs[0].namespace=..." }}
{{- end }}
{{- if and (ne $values.route.type "httpRoute") (or $values.route.parentRefs $values.route.hostnames) }}
{{- fail (printf "route.parentRefs or route.hostnames is set, and route.type is %s, which has no use for it; set route.type=httpRoute, or leave them out" $values.route.type) }}
{{- end }}
{{- if and (eq $values.route.type "httpRoute") (not $standard) }}
{{- fail "route.type is httpRoute, and in Knative mode Knative's own ingress routes; set route.type to kserve or clusterLocal" }}
{{- end }}
{{- if $canary.enabled }}
{{- if and $standard (ne $values.route.type "httpRoute") }}
{{- fail (printf "canary.enabled is true and route.type is %s: in Standard mode only the chart's HTTPRoute divides requests (KServe 0.20 does not). Set route.type=httpRoute and route.parentRefs, or deploymentMode=Knative." $values.route.type) }}
{{- end }}
{{- if not (or $canary.uri $canary.imageTag) }}
{{- fail "canary.enabled is true, and canary.uri and canary.imageTag are empty: it would be the same as the first. Set one of them." }}
{{- end }}
{{- else if or $canary.uri $canary.imageTag $canary.version }}
{{- fail "canary.uri, canary.imageTag or canary.version is set, and canary.enabled is false; set canary.enabled=true, or leave them out" }}
{{- end }}

{{- if $values.analyst.enabled }}
{{- include "sightline.refuseAnalyst" . }}
{{- end }}

{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.ingress.gateway) }}
{{- fail "networkPolicy.enabled is true and networkPolicy.ingress.gateway is empty: no request would arrive. Name the gateway's pods by a namespaceSelector." }}
{{- end }}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.egress.storage) (not (regexMatch "^(pvc|oci|oci\\+native)://" $values.model.uri)) }}
{{- fail (printf "networkPolicy.enabled is true and networkPolicy.egress.storage is empty: %s could not be fetched. Name the storage: an ipBlock or selectors, and its ports." $values.model.uri) }}
{{- end }}
{{- if and $values.networkPolicy.enabled $values.podMonitor.enabled (not $values.networkPolicy.ingress.prometheus) }}
{{- fail "networkPolicy.enabled and podMonitor.enabled are true, and networkPolicy.ingress.prometheus is empty: Prometheus could not scrape. Name its pods." }}
{{- end }}

{{- if not $standard }}
{{- include "sightline.refuseKnative" . }}
{{- end }}
{{- if $values.training.enabled }}
{{- if not $values.training.config }}
{{- fail "training.enabled is true and training.config is empty; put the configuration of docs/training.md there" }}
{{- end }}
{{- if not $values.training.runsClaimName }}
{{- fail "training.enabled is true and training.runsClaimName is empty: an interrupted training would begin anew. Name a PersistentVolumeClaim." }}
{{- end }}
{{- if not $values.mlflow.trackingUri }}
{{- fail "training.enabled is true and mlflow.trackingUri is empty: a release needs a registry. Set it to the address of MLflow." }}
{{- end }}
{{- if hasKey $values.training.config "output" }}
{{- fail "training.config has output, which is the chart's to set: the run's folder on training.runsClaimName. Leave it out." }}
{{- end }}
{{- end }}

{{- with lookup "serving.kserve.io/v1beta1" "InferenceService" .Release.Namespace $name }}
{{- $mode := dig "metadata" "annotations" "serving.kserve.io/deploymentMode" "" . }}
{{- if and $mode (ne $mode $values.deploymentMode) }}
{{- fail (printf "InferenceService %s is in %s mode, and KServe does not change that. Uninstall the release, or install another beside it, to have deploymentMode %s." $name $mode $values.deploymentMode) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Arguments: root, field, uri. */}}
{{- define "sightline.refuseUri" -}}
{{- $values := .root.Values -}}
{{- if not (regexMatch "^[a-z][a-z0-9+.-]*://[^/\\s]" .uri) }}
{{- fail (printf "%s is %q; accepted: an address with a scheme, such as s3://models/cxr/7, pvc://models/cxr/7 or mlflow://cxr/7. KServe would take it for a local path." .field .uri) }}
{{- end }}
{{- if regexMatch "^(models|runs|mlflow-artifacts)://" .uri }}
{{- fail (printf "%s is %q, which KServe cannot read; accepted: mlflow://NAME/VERSION" .field .uri) }}
{{- end }}
{{- if hasPrefix "mlflow://" .uri }}
{{- if and (regexMatch "^mlflow://[^/@]+@[^/@]+$" .uri) (not $values.model.allowAlias) }}
{{- fail (printf "%s is %q, an alias: pods that start after it has moved would serve another version than the others. Name the version, mlflow://NAME/VERSION, or set model.allowAlias=true." .field .uri) }}
{{- end }}
{{- if not (regexMatch "^mlflow://[^/@]+(/[0-9]+|@[^/@]+)$" .uri) }}
{{- fail (printf "%s is %q; accepted: mlflow://NAME/VERSION with a number, or mlflow://NAME@ALIAS" .field .uri) }}
{{- end }}
{{- if and (include "sightline.fetchesItself" .) (not $values.mlflow.trackingUri) }}
{{- fail (printf "%s is %q and mlflow.trackingUri is empty; set it to the address of MLflow" .field .uri) }}
{{- end }}
{{- else if regexMatch "^[^/]*//[^/@]*:[^/@]*@" .uri }}
{{- fail (printf "%s holds a user or password; leave it out, and name a secret in model.credentialsSecret" .field) }}
{{- end }}
{{- end }}

{{- define "sightline.refuseScaling" -}}
{{- $values := .Values -}}
{{- $scaling := $values.autoscaling -}}
{{- $standard := eq $values.deploymentMode "Standard" -}}
{{- $keda := $scaling.keda -}}
{{- if and (not $standard) (has $scaling.type (list "hpa" "keda")) }}
{{- fail (printf "autoscaling.type is %s, and in Knative mode Knative scales; set autoscaling.type to knative or none" $scaling.type) }}
{{- end }}
{{- if and $standard (eq $scaling.type "knative") }}
{{- fail "autoscaling.type is knative and deploymentMode is Standard; set autoscaling.type to hpa, keda or none, or deploymentMode=Knative" }}
{{- end }}
{{- if and (ne $scaling.type "keda") (or $keda.serverAddress $keda.query $keda.authenticationRef) }}
{{- fail (printf "autoscaling.type is %s, and autoscaling.keda.serverAddress, query or authenticationRef is set: KEDA makes an autoscaler of its own, and two would fight over the pods. Set autoscaling.type=keda, or leave them out." $scaling.type) }}
{{- end }}
{{- if lt (int64 $scaling.maxReplicas) (int64 $scaling.minReplicas) }}
{{- fail (printf "autoscaling.maxReplicas is %v, less than autoscaling.minReplicas, %v; raise it" $scaling.maxReplicas $scaling.minReplicas) }}
{{- end }}
{{- if eq $scaling.type "keda" }}
{{- if not $keda.serverAddress }}
{{- fail "autoscaling.type is keda and autoscaling.keda.serverAddress is empty; set it to the address of Prometheus" }}
{{- end }}
{{- if ne (empty $keda.authenticationRef) (empty $keda.authModes) }}
{{- fail "autoscaling.keda.authenticationRef and autoscaling.keda.authModes are needed together, or neither" }}
{{- end }}
{{- end }}
{{- if eq (int64 $scaling.minReplicas) 0 }}
{{- if has $scaling.type (list "hpa" "none") }}
{{- fail (printf "autoscaling.minReplicas is 0, and with autoscaling.type %s nothing would start a pod again; set it to at least 1, or take Knative mode, which keeps the first request until there is a pod" $scaling.type) }}
{{- end }}
{{- if and (eq $scaling.type "keda") (not $keda.query) }}
{{- fail "autoscaling.minReplicas is 0, and without pods there are no metrics of pods to start one by. Set it to at least 1, or autoscaling.keda.query to one over the gateway's requests (the first of them fail, for nobody keeps them), or take Knative mode." }}
{{- end }}
{{- if $values.podDisruptionBudget.enabled }}
{{- fail "autoscaling.minReplicas is 0 and podDisruptionBudget.enabled is true: a budget for pods that may all be gone anyway would only block drains. Set podDisruptionBudget.enabled=false, or minReplicas to at least 1." }}
{{- end }}
{{- end }}
{{- end }}

{{/* What Knative Serving's revisions do not have, or have only behind a feature flag. */}}
{{- define "sightline.refuseKnative" -}}
{{- $values := .Values -}}
{{- if $values.shutdown.preStopSleepSeconds }}
{{- fail "shutdown.preStopSleepSeconds is set, and Knative has no preStop of its users; leave it 0: the queue proxy drains the pod" }}
{{- end }}
{{- if and $values.requestLog.enabled $values.requestLog.claimName }}
{{- fail "requestLog.claimName is set in Knative mode, where a pod does not know its name, so all would write one file; leave the claim out, and ship the log from the pod" }}
{{- end }}
{{- if gt (include "sightline.graceSeconds" . | int64) 600 }}
{{- fail (printf "a request may take %s s with all that surrounds it, and Knative's max-revision-timeout-seconds is 600; lower settings.timeout_s or settings.drain_grace_s" (include "sightline.graceSeconds" .)) }}
{{- end }}
{{- end }}
