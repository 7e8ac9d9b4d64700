{{/* The ports in addresses `host:port`, separated by commas; the scheme's where one has none. */}}
{{- define "headrace.ports" -}}
{{- $ports := list -}}
{{- range splitList "," . -}}
{{- $address := trim . -}}
{{- $host := regexReplaceAll "^[a-z]+://" $address "" | splitList "/" | first -}}
{{- if regexMatch ":[0-9]+$" $host -}}
{{- $ports = append $ports (regexFind "[0-9]+$" $host | int) -}}
{{- else if hasPrefix "http://" $address -}}
{{- $ports = append $ports 80 -}}
{{- else -}}
{{- $ports = append $ports 443 -}}
{{- end -}}
{{- end -}}
{{ $ports | uniq | join "," }}
{{- end }}

{{/* A rule of egress to one server. Takes at, from `networkPolicy.servers`, and address. */}}
{{- define "headrace.egress" -}}
{{- $ports := .at.ports | default (include "headrace.ports" .address | splitList ",") }}
- ports:
    {{- range $ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .at.to }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What a pod may reach, a list of rules. Takes root and facts. */}}
{{- define "headrace.egressRules" -}}
{{- $v := .root.Values -}}
{{- $policy := $v.networkPolicy -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
  {{- with $policy.dns.to }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- $addresses := dict
      "kafka" $v.kafka.bootstrapServers
      "postgres" ""
      "s3" ($v.s3.endpointUrl | default "https://")
      "mlflow" $v.mlflow.trackingUri
      "dask" $v.dask.schedulerAddress
}}
{{- range $server := .facts.servers }}
{{- if or (ne $server "dask") $v.dask.schedulerAddress }}
{{- include "headrace.egress" (dict "at" (get $policy.servers $server) "address" (get $addresses $server)) }}
{{- end }}
{{- end }}
{{- if and .facts.notifies $v.notifications.existingSecret }}
{{- include "headrace.egress" (dict "at" $policy.servers.notify "address" "") }}
{{- end }}
{{- if .facts.watches }}
{{- with include "headrace.watched" .root }}
- ports:
    - {protocol: TCP, port: {{ $v.httpPort }}}
  to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: {{ include "headrace.name" $.root }}
          app.kubernetes.io/instance: {{ $.root.Release.Name }}
        matchExpressions:
          - {key: app.kubernetes.io/component, operator: In, values: [{{ . }}]}
{{- end }}
{{- end }}
{{- with $policy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A service's policy: its callers on its port, and what it needs. Takes root, component and facts. */}}
{{- define "headrace.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "headrace.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "headrace.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{ include "headrace.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - {protocol: TCP, port: http}
      from:
        - podSelector:
            matchLabels: {{ include "headrace.selector" (dict "root" .root "component" "health-check") | nindent 14 }}
        {{- $services := dict }}
        {{- include "headrace.collect" (dict "root" .root "into" $services) }}
        {{- range $name, $service := $services }}
        {{- if and $service.facts.watches (not $.facts.watches) }}
        - podSelector:
            matchLabels: {{ include "headrace.selector" $service | nindent 14 }}
        {{- end }}
        {{- end }}
        {{- if and .facts.api (not .facts.watches) }}
        {{- with $policy.apiFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- if .facts.watches }}
        {{- with $policy.consoleFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- with $policy.metricsFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  egress: {{ include "headrace.egressRules" . | nindent 4 }}
{{- end }}
