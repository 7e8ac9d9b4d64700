{{/* Everything of one service: takes root, component, facts and options. */}}
{{- define "headrace.service" -}}
{{- $name := printf "%s-%s" (include "headrace.fullname" .root) .component }}
{{- $v := .root.Values }}
{{- $options := .options }}
{{- $labels := include "headrace.labels" . }}
{{- $selector := include "headrace.selector" . }}
{{- if not $options.serviceAccount.name }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ $labels | nindent 4 }}
  {{- with $options.serviceAccount.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ $labels | nindent 4 }}
spec:
  type: ClusterIP
  selector: {{ $selector | nindent 4 }}
  ports:
    - {name: http, port: 8000, targetPort: http, protocol: TCP, appProtocol: http}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ $labels | nindent 4 }}
spec:
  {{- if not (and $v.autoscaling.enabled .facts.topics) }}
  replicas: {{ $options.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels: {{ $selector | nindent 6 }}
  strategy:
    type: {{ $options.strategy.type }}
    {{- if eq $options.strategy.type "RollingUpdate" }}
    rollingUpdate: {{ toYaml $options.strategy.rollingUpdate | nindent 6 }}
    {{- end }}
  template:
    metadata:
      labels:
        {{- $labels | nindent 8 }}
        {{- with $options.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ .component }}
        {{- if $v.metrics.podAnnotations }}
        prometheus.io/scrape: "true"
        prometheus.io/port: {{ $v.httpPort | quote }}
        prometheus.io/path: /metrics
        {{- end }}
        {{- with $options.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ $options.serviceAccount.name | default $name }}
      automountServiceAccountToken: false
      # A Service named http would otherwise set HTTP_PORT.
      enableServiceLinks: false
      {{- $grace := include "headrace.setting" (dict "root" .root "options" $options "setting" "SHUTDOWN_GRACE_SECONDS" "default" 8) | float64 }}
      terminationGracePeriodSeconds: {{ add (ceil $grace) $options.preStopSeconds $options.terminationMarginSeconds }}
      securityContext: {{ include "headrace.podSecurity" . | nindent 8 }}
      {{- include "headrace.placement" . | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ include "headrace.image" (dict "root" .root "image" ($options.image | default .component)) }}
          imagePullPolicy: {{ $v.image.pullPolicy }}
          securityContext: {{ include "headrace.containerSecurity" . | nindent 12 }}
          ports:
            - {name: http, containerPort: {{ $v.httpPort }}, protocol: TCP}
          env: {{ include "headrace.env" . | nindent 12 }}
          {{- include "headrace.probes" (dict "probes" $options.probes "ready" (hasKey .facts "watches" | ternary "/healthz" "/readyz")) | nindent 10 }}
          {{- if $options.preStopSeconds }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ $options.preStopSeconds }}}
          {{- end }}
          resources: {{ toYaml $options.resources | nindent 12 }}
          volumeMounts: {{ include "headrace.mounts" . | nindent 12 }}
      volumes: {{ include "headrace.volumes" (merge (dict "specs" (printf "%s-datasets" (include "headrace.fullname" .root))) .) | nindent 8 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ $labels | nindent 4 }}
spec:
  maxUnavailable: {{ $options.podDisruptionBudget.maxUnavailable }}
  # While Kafka is away no pod is ready; a node can be drained all the same.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{ $selector | nindent 6 }}
{{- end }}

{{/*
Liveness asks only whether the consumer loop turns: a server that is away is no reason to restart.
Readiness asks for the servers too, but for the console, whose pages say which server is away: whoever
looks for it must not be turned away because of it. Takes probes and ready.
*/}}
{{- define "headrace.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  timeoutSeconds: {{ .probes.timeoutSeconds }}
  failureThreshold: {{ max 1 (ceil (divf .probes.startupSeconds 2)) | int }}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: {{ .probes.periodSeconds }}
  timeoutSeconds: {{ .probes.timeoutSeconds }}
  failureThreshold: {{ .probes.livenessFailures }}
readinessProbe:
  httpGet: {path: {{ .ready }}, port: http}
  periodSeconds: {{ .probes.periodSeconds }}
  timeoutSeconds: {{ .probes.timeoutSeconds }}
  failureThreshold: {{ .probes.readinessFailures }}
{{- end }}
