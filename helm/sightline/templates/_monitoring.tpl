{{/* Selects the series of the release. */}}
{{- define "sightline.series" -}}
namespace="{{ .Release.Namespace }}",release="{{ include "sightline.name" . }}"
{{- end }}

{{/* A bound of a bucket as Prometheus' client writes it: 1 is 1.0. */}}
{{- define "sightline.bucket" -}}
{{- if eq (floor .) . }}{{ printf "%.1f" . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* Arguments: root, severity (page or ticket). */}}
{{- define "sightline.alertLabels" -}}
{{- $own := dict "severity" (index .root.Values.prometheusRule.severity .severity) "namespace" .root.Release.Namespace "release" (include "sightline.name" .root) -}}
{{ merge $own .root.Values.prometheusRule.alertLabels | toJson }}
{{- end }}

{{/*
A share over a window; 0 where no part was ever counted, and nothing where there is no whole.
Arguments: part, whole (selectors), window.
*/}}
{{- define "sightline.share" -}}
(sum by (namespace, release) (rate({{ .part }}[{{ .window }}])) or 0 * sum by (namespace, release) (rate({{ .whole }}[{{ .window }}])))
  / (sum by (namespace, release) (rate({{ .whole }}[{{ .window }}])) > 0)
{{- end }}

{{/*
An error budget that is used up too fast: over a long window, and still over a short one. The pairs and factors are
those of the SRE Workbook, chapter 5. Arguments: root, ratio, count (what has to be enough), objective, windows (list of
factor, long, short).
*/}}
{{- define "sightline.burns" -}}
{{- $by := include "sightline.series" .root -}}
{{- $given := . -}}
{{- range $index, $each := .windows }}
{{- if $index }}
or
{{ end -}}
(
  {{ $given.ratio }}{{ index $each 1 }}{{ "{" }}{{ $by }}} > {{ index $each 0 }} * (1 - {{ $given.objective }})
  and {{ $given.ratio }}{{ index $each 2 }}{{ "{" }}{{ $by }}} > {{ index $each 0 }} * (1 - {{ $given.objective }})
  and sum by (namespace, release) (increase({{ $given.count }}[{{ index $each 1 }}])) >= {{ int64 $given.root.Values.prometheusRule.slo.minRequests }}
)
{{- end }}
{{- end }}
