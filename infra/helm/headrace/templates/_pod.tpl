{{/* A pod's parts that services, the migration and the health check have in common. */}}

{{- define "headrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a pod may run, and with what it pulls. Takes root, component and options. */}}
{{- define "headrace.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .options.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .options.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .options.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .options.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- $selector := include "headrace.selector" . | fromYaml }}
{{- with .options.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ merge (dict "labelSelector" (dict "matchLabels" $selector) "matchLabelKeys" (list "pod-template-hash")) . | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Volumes: /tmp, the specs, the certificates. Takes root, facts, options and specs, the ConfigMap's name. */}}
{{- define "headrace.volumes" -}}
{{- $v := .root.Values -}}
- name: tmp
  {{- if .options.tmp.volume }}
  {{- toYaml .options.tmp.volume | nindent 2 }}
  {{- else }}
  emptyDir: {sizeLimit: {{ .options.tmp.sizeLimit }}}
  {{- end }}
- name: datasets
  {{- if $v.datasets.existingClaim }}
  persistentVolumeClaim: {claimName: {{ $v.datasets.existingClaim }}, readOnly: true}
  {{- else }}
  configMap:
    name: {{ $v.datasets.existingConfigMap | default .specs }}
    # Without a dataset declared the services run all the same.
    optional: {{ not (or $v.datasets.existingConfigMap $v.datasets.specs) }}
  {{- end }}
{{- range $server := list "kafka" "postgres" "s3" "mlflow" }}
{{- $tls := (get $v $server).tls }}
{{- if and $tls.existingSecret (has $server $.facts.servers) }}
- name: tls-{{ $server }}
  secret:
    secretName: {{ $tls.existingSecret }}
    defaultMode: 0440
    items:
      {{- if $tls.caKey }}
      - {key: {{ $tls.caKey }}, path: ca.crt}
      {{- end }}
      {{- if $tls.certKey }}
      - {key: {{ $tls.certKey }}, path: tls.crt}
      {{- end }}
      {{- if $tls.privateKeyKey }}
      - {key: {{ $tls.privateKeyKey }}, path: tls.key}
      {{- end }}
{{- end }}
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "headrace.mounts" -}}
{{- $v := .root.Values -}}
- {name: tmp, mountPath: /tmp}
- {name: datasets, mountPath: /etc/headrace/datasets, readOnly: true}
{{- range $server := list "kafka" "postgres" "s3" "mlflow" }}
{{- if and (get $v $server).tls.existingSecret (has $server $.facts.servers) }}
- {name: tls-{{ $server }}, mountPath: /etc/headrace/tls/{{ $server }}, readOnly: true}
{{- end }}
{{- end }}
{{- with $v.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
