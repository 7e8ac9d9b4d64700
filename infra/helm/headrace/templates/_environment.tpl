{{/*
A container's variables, sorted by name, as YAML {name: {value} or {valueFrom}}. Takes root, facts and
options. No secret's content passes through here, only its name and key.
*/}}
{{- define "headrace.variables" -}}
{{- $v := .root.Values -}}
{{- $kafka := $v.kafka -}}
{{- $tls := "/etc/headrace/tls" -}}
{{- $plain := dict
      "KAFKA_BOOTSTRAP_SERVERS" (nospace $kafka.bootstrapServers)
      "KAFKA_SECURITY_PROTOCOL" $kafka.securityProtocol
      "AWS_REGION" $v.s3.region
      "DATASETS_DIR" "/etc/headrace/datasets"
      "HTTP_HOST" $v.httpHost
      "HTTP_PORT" $v.httpPort
-}}
{{- $secret := dict "DATABASE_URL" (list $v.postgres.existingSecret $v.postgres.urlKey) -}}
{{- if hasPrefix "SASL_" $kafka.securityProtocol -}}
{{- $_ := set $plain "KAFKA_SASL_MECHANISM" $kafka.saslMechanism -}}
{{- $_ := set $secret "KAFKA_USERNAME" (list $kafka.existingSecret $kafka.usernameKey) -}}
{{- $_ := set $secret "KAFKA_PASSWORD" (list $kafka.existingSecret $kafka.passwordKey) -}}
{{- end -}}
{{- if $kafka.tls.existingSecret -}}
{{- if $kafka.tls.caKey }}{{ $_ := set $plain "KAFKA_CA_FILE" (printf "%s/kafka/ca.crt" $tls) }}{{ end -}}
{{- if $kafka.tls.certKey }}{{ $_ := set $plain "KAFKA_CERT_FILE" (printf "%s/kafka/tls.crt" $tls) }}{{ end -}}
{{- if $kafka.tls.privateKeyKey }}{{ $_ := set $plain "KAFKA_KEY_FILE" (printf "%s/kafka/tls.key" $tls) }}{{ end -}}
{{- end -}}
{{- if $v.s3.endpointUrl }}{{ $_ := set $plain "S3_ENDPOINT_URL" $v.s3.endpointUrl }}{{ end -}}
{{- if $v.s3.tls.existingSecret }}{{ $_ := set $plain "S3_CA_FILE" (printf "%s/s3/ca.crt" $tls) }}{{ end -}}
{{- if $v.s3.existingSecret -}}
{{- $_ := set $secret "AWS_ACCESS_KEY_ID" (list $v.s3.existingSecret $v.s3.accessKeyIdKey) -}}
{{- $_ := set $secret "AWS_SECRET_ACCESS_KEY" (list $v.s3.existingSecret $v.s3.secretAccessKeyKey) -}}
{{- end -}}
{{- if has "mlflow" .facts.servers -}}
{{- $_ := set $plain "MLFLOW_TRACKING_URI" $v.mlflow.trackingUri -}}
{{- if $v.mlflow.existingSecret -}}
{{- $_ := set $secret "MLFLOW_TRACKING_USERNAME" (list $v.mlflow.existingSecret $v.mlflow.usernameKey) -}}
{{- $_ := set $secret "MLFLOW_TRACKING_PASSWORD" (list $v.mlflow.existingSecret $v.mlflow.passwordKey) -}}
{{- end -}}
{{- if $v.mlflow.tls.existingSecret }}{{ $_ := set $plain "MLFLOW_TRACKING_SERVER_CERT_PATH" (printf "%s/mlflow/ca.crt" $tls) }}{{ end -}}
{{- end -}}
{{- if and (has "dask" .facts.servers) $v.dask.schedulerAddress -}}
{{- $_ := set $plain "DASK_SCHEDULER_ADDRESS" $v.dask.schedulerAddress -}}
{{- end -}}
{{- if and .facts.api $v.api.existingSecret -}}
{{- $_ := set $secret "API_TOKEN" (list $v.api.existingSecret $v.api.tokenKey) -}}
{{- end -}}
{{- if and (or .facts.watches .facts.administers) $v.console.existingSecret -}}
{{- $_ := set $secret "CONSOLE_DATABASE_URL" (list $v.console.existingSecret $v.console.urlKey) -}}
{{- end -}}
{{- if and .facts.watches $v.console.passwordExistingSecret -}}
{{- $_ := set $secret "CONSOLE_PASSWORD" (list $v.console.passwordExistingSecret $v.console.passwordKey) -}}
{{- end -}}
{{- if .facts.watches -}}
{{- $addresses := list -}}
{{- range $name := include "headrace.watched" .root | splitList "," | compact -}}
{{- $addresses = append $addresses (printf "%s=http://%s-%s:8000" $name (include "headrace.fullname" $.root) $name) -}}
{{- end -}}
{{- if $addresses }}{{ $_ := set $plain "CONSOLE_SERVICES" (join " " $addresses) }}{{ end -}}
{{- end -}}
{{- if and .facts.notifies $v.notifications.existingSecret -}}
{{- $_ := set $secret "NOTIFY_URLS" (list $v.notifications.existingSecret $v.notifications.urlsKey) -}}
{{- end -}}
{{- if and .facts.administers $v.migrations.adminExistingSecret -}}
{{- $_ := set $secret "ADMIN_DATABASE_URL" (list $v.migrations.adminExistingSecret $v.migrations.adminUrlKey) -}}
{{- if $v.migrations.mlflowUrlKey }}{{ $_ := set $secret "MLFLOW_DATABASE_URL" (list $v.migrations.adminExistingSecret $v.migrations.mlflowUrlKey) }}{{ end -}}
{{- end -}}
{{- range $name, $value := mergeOverwrite (deepCopy $v.env) (deepCopy .options.env) -}}
{{- $_ := set $plain $name $value -}}
{{- end -}}
{{- /* The file system is read-only: what a library keeps in a home goes to /tmp. */ -}}
{{- $_ := set $plain "HOME" "/tmp" -}}
{{- /* The image's entrypoint gives each process a folder there and deletes those of killed ones. */ -}}
{{- $_ := set $plain "SCRATCH_DIR" "/tmp" -}}
{{- $variables := dict -}}
{{- range $name, $value := $plain }}{{ $_ := set $variables $name (dict "value" (include "headrace.text" $value)) }}{{ end -}}
{{- range $name, $at := $secret -}}
{{- $_ := set $variables $name (dict "valueFrom" (dict "secretKeyRef" (dict "name" (first $at) "key" (last $at)))) -}}
{{- end -}}
{{ toYaml $variables }}
{{- end }}

{{/* A setting's value as text: a whole number without an exponent, which a large float would get. */}}
{{- define "headrace.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end -}}
{{- end }}

{{/* The same as a container's `env`, with `extraEnv` behind it. */}}
{{- define "headrace.env" -}}
{{- $variables := include "headrace.variables" . | fromYaml -}}
{{- range $name, $from := $variables }}
- name: {{ $name }}
  {{- toYaml $from | nindent 2 }}
{{- end }}
{{- range .root.Values.extraEnv }}
{{- if hasKey $variables .name }}
{{- fail (printf "extraEnv names %s, which the chart sets itself; set it where docs/kubernetes.md says" .name) }}
{{- end }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- end }}

{{/* One setting of a service, `default` where nobody sets it. Takes root, options, setting, default. */}}
{{- define "headrace.setting" -}}
{{- $env := mergeOverwrite (deepCopy .root.Values.env) (deepCopy .options.env) -}}
{{- if hasKey $env .setting }}{{ include "headrace.text" (get $env .setting) }}{{ else }}{{ .default }}{{ end -}}
{{- end }}
