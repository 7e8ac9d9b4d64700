{{/* The names of objects and their labels. */}}

{{- define "headrace.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The beginning of every object's name; 40 characters, so that `-migrate-datasets` fits behind it. */}}
{{- define "headrace.fullname" -}}
{{- $name := include "headrace.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* What a Deployment, a Service and all else select by. Never to be changed: a Deployment's is immutable. */}}
{{- define "headrace.selector" -}}
app.kubernetes.io/name: {{ include "headrace.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "headrace.labels" -}}
{{ include "headrace.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Takes root and image, an image's name or a whole reference. */}}
{{- define "headrace.image" -}}
{{- $from := .root.Values.image -}}
{{- if contains "/" .image -}}
{{ .image }}
{{- else -}}
{{- with $from.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $from.repository }}/{{ .image }}:{{ $from.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/*
Puts every enabled service into the dict `into`, as {name: {root, component, facts, options}}. A dict is
filled, and not YAML returned, because numbers lose their kind on the way through YAML.
*/}}
{{- define "headrace.collect" -}}
{{- $root := .root -}}
{{- $into := .into -}}
{{- $facts := $root.Files.Get "files/services.yaml" | fromYaml -}}
{{- range $name, $own := $root.Values.services -}}
{{- if $own.enabled -}}
{{- $options := mergeOverwrite (deepCopy $root.Values.defaults) (deepCopy $own) -}}
{{- $_ := set $into $name (dict "root" $root "component" $name "facts" (get $facts $name) "options" $options) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
A pod of the cli, put into the dict `into` likewise: `defaults` without what belongs to services alone.
Takes root, into, component, and facts.
*/}}
{{- define "headrace.cli" -}}
{{- $options := mergeOverwrite (deepCopy .root.Values.defaults) (dict "image" "" "topologySpreadConstraints" list) -}}
{{- $_ := set $options "env" dict -}}
{{- $_ := set $options "tmp" (dict "sizeLimit" "64Mi") -}}
{{- $_ := set .into "root" .root -}}
{{- $_ := set .into "component" .component -}}
{{- $_ := set .into "facts" .facts -}}
{{- $_ := set .into "options" $options -}}
{{- end }}

{{/* The enabled services whose health the watching one shows: `ingestor,validator`. Takes the root. */}}
{{- define "headrace.watched" -}}
{{- $services := dict -}}
{{- include "headrace.collect" (dict "root" . "into" $services) -}}
{{- $names := list -}}
{{- range $name, $service := $services -}}
{{- if not $service.facts.watches }}{{ $names = append $names $name }}{{ end -}}
{{- end -}}
{{ join "," $names }}
{{- end }}
