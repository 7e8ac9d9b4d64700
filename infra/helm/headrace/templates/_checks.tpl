{{/*
Mistakes that a schema can't tell, or only in its own language. All of them are told at once.
*/}}
{{- define "headrace.checks" -}}
{{- $v := .Values -}}
{{- $wrong := list -}}
{{- if not $v.kafka.bootstrapServers }}{{ $wrong = append $wrong "kafka.bootstrapServers is empty: name the brokers, such as kafka-1.example.org:9092" }}{{ end -}}
{{- if not $v.postgres.existingSecret }}{{ $wrong = append $wrong "postgres.existingSecret is empty: name the secret that holds the database's URL" }}{{ end -}}
{{- if not $v.mlflow.trackingUri }}{{ $wrong = append $wrong "mlflow.trackingUri is empty: name the MLflow server, such as http://mlflow:5000" }}{{ end -}}
{{- if and (hasPrefix "SASL_" $v.kafka.securityProtocol) (not $v.kafka.existingSecret) -}}
{{- $wrong = append $wrong (printf "kafka.securityProtocol is %s, so kafka.existingSecret must name the secret with user and password" $v.kafka.securityProtocol) -}}
{{- end -}}
{{- if and $v.kafka.tls.existingSecret (not (hasSuffix "SSL" $v.kafka.securityProtocol)) -}}
{{- $wrong = append $wrong (printf "kafka.tls.existingSecret is set, but kafka.securityProtocol is %s, which has no TLS" $v.kafka.securityProtocol) -}}
{{- end -}}
{{- if ne (empty $v.kafka.tls.certKey) (empty $v.kafka.tls.privateKeyKey) -}}
{{- $wrong = append $wrong "kafka.tls.certKey and kafka.tls.privateKeyKey belong together: set both or none" -}}
{{- end -}}
{{- if gt (len (compact (list $v.datasets.existingConfigMap $v.datasets.existingClaim (empty $v.datasets.specs | ternary "" "specs")))) 1 -}}
{{- $wrong = append $wrong "datasets: set one of specs, existingConfigMap and existingClaim, not several" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}{{ $wrong = append $wrong "ingress.enabled needs ingress.host" }}{{ end -}}
{{- if and $v.ingress.enabled (not $v.services.ingestor.enabled) }}{{ $wrong = append $wrong "ingress.enabled routes to the ingestor, which is not enabled" }}{{ end -}}
{{- if and $v.ingress.consoleHost (not $v.services.console.enabled) }}{{ $wrong = append $wrong "ingress.consoleHost routes to the console, which is not enabled" }}{{ end -}}
{{- if and $v.migrations.mlflowUrlKey (not $v.migrations.adminExistingSecret) }}{{ $wrong = append $wrong "migrations.mlflowUrlKey is a key of migrations.adminExistingSecret, which is empty" }}{{ end -}}
{{- if hasKey $v.env "CONSUMER_INSTANCE_ID" -}}
{{- $wrong = append $wrong "env.CONSUMER_INSTANCE_ID would be every pod's: two members of a group with one id fence each other" -}}
{{- end -}}
{{- $services := dict -}}
{{- include "headrace.collect" (dict "root" $ "into" $services) -}}
{{- range $name, $service := $services -}}
{{- $options := $service.options -}}
{{- $where := printf "services.%s" $name -}}
{{- $args := dict "root" $ "options" $options -}}
{{- $scale := $options.autoscaling -}}
{{- $replicas := $v.autoscaling.enabled | ternary $scale.maxReplicas $options.replicas | int -}}
{{- $surge := 0 -}}
{{- if eq $options.strategy.type "RollingUpdate" -}}
{{- $given := toString $options.strategy.rollingUpdate.maxSurge -}}
{{- $surge = hasSuffix "%" $given | ternary (ceil (divf (mulf $replicas (trimSuffix "%" $given | float64)) 100)) ($given | int) | int -}}
{{- if and (eq $given "0" | or (eq $given "0%")) (eq (toString $options.strategy.rollingUpdate.maxUnavailable | trimSuffix "%") "0") -}}
{{- $wrong = append $wrong (printf "%s.strategy: maxSurge and maxUnavailable are both 0, so no pod can ever be replaced" $where) -}}
{{- end -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt ($scale.minReplicas | int) ($scale.maxReplicas | int)) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling: minReplicas %v is more than maxReplicas %v" $where $scale.minReplicas $scale.maxReplicas) -}}
{{- end -}}
{{- if and (hasKey $options.env "CONSUMER_INSTANCE_ID") (gt (add $replicas $surge | int) 1) -}}
{{- $wrong = append $wrong (printf "%s.env.CONSUMER_INSTANCE_ID would be the id of %d pods at once: two members of a group with one id fence each other; have one replica and no surge, or leave it out" $where (add $replicas $surge)) -}}
{{- end -}}
{{- $heartbeat := include "headrace.setting" (merge (dict "setting" "HEARTBEAT_INTERVAL_SECONDS" "default" 2) $args) | float64 -}}
{{- $session := include "headrace.setting" (merge (dict "setting" "SESSION_TIMEOUT_SECONDS" "default" 6) $args) | float64 -}}
{{- if gt (mulf $heartbeat 3) $session -}}
{{- $wrong = append $wrong (printf "%s: HEARTBEAT_INTERVAL_SECONDS (%v) is more than a third of SESSION_TIMEOUT_SECONDS (%v)" $where $heartbeat $session) -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "these values can't be used:\n  - %s\n" (join "\n  - " $wrong)) -}}
{{- end -}}
{{- end }}
