{{/* Values that contradict each other, a sentence for each, so that nothing is installed that cannot work. */}}
{{- define "countersign.validate" -}}
{{- $values := .Values -}}
{{- $config := .Values.config -}}
{{- $postgres := include "countersign.postgres" . -}}
{{- $server := $config.server | default dict -}}
{{- $faults := list -}}

{{- /* What config may not say. */ -}}
{{- $owned := dict
    "server.listen" "listenAddress and service.port"
    "server.internal_listen" "internal.enabled"
    "server.metrics_listen" "metrics.enabled"
    "server.tls" "tls"
    "database.url" "database.existingSecret"
    "database.url_file" "database.existingSecret"
    "database.direct_url" "database.directUrlKey"
    "database.direct_url_file" "database.directUrlKey"
    "database.migrate_on_start" "migration.enabled"
    "secrets.master_key" "masterKey.existingSecret"
    "secrets.master_key_file" "masterKey.existingSecret"
    "secrets.previous_master_keys" "masterKey.previousKey"
    "secrets.previous_master_keys_file" "masterKey.previousKey"
    "mail.transport" "smtp.existingSecret"
    "mail.dir" "smtp.existingSecret"
    "mail.smtp_url" "smtp.existingSecret"
    "mail.smtp_url_file" "smtp.existingSecret"
    "mail.templates_dir" "mailTemplatesConfigMap" -}}
{{- range $name, $instead := $owned -}}
{{- $parts := splitList "." $name -}}
{{- if hasKey (get $config (first $parts) | default dict) (last $parts) -}}
{{- $faults = append $faults (printf "config.%s is decided by the chart: use %s." $name $instead) -}}
{{- end -}}
{{- end -}}
{{- $providers := dig "oauth" "providers" dict $config -}}
{{- range $name, $provider := $providers -}}
{{- if or (hasKey $provider "client_secret") (hasKey $provider "client_secret_file") -}}
{{- $faults = append $faults (printf "config.oauth.providers.%s.client_secret would be in a ConfigMap: use oauthSecrets.%s." $name $name) -}}
{{- else if not (hasKey $values.oauthSecrets $name) -}}
{{- $faults = append $faults (printf "config.oauth.providers.%s needs its client secret: set oauthSecrets.%s.existingSecret." $name $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $values.oauthSecrets -}}
{{- if not (hasKey $providers $name) -}}
{{- $faults = append $faults (printf "oauthSecrets.%s belongs to no provider: set config.oauth.providers.%s." $name $name) -}}
{{- end -}}
{{- end -}}

{{- /* The database. */ -}}
{{- if not $postgres -}}
{{- if $values.autoscaling.enabled -}}
{{- $faults = append $faults "autoscaling.enabled needs PostgreSQL: SQLite serves one process. Set database.existingSecret." -}}
{{- end -}}
{{- if gt (int $values.replicaCount) 1 -}}
{{- $faults = append $faults "replicaCount over 1 needs PostgreSQL: SQLite serves one process. Set database.existingSecret." -}}
{{- end -}}
{{- if $values.database.directUrlKey -}}
{{- $faults = append $faults "database.directUrlKey is for PostgreSQL: set database.existingSecret." -}}
{{- end -}}
{{- if $values.database.ca.existingSecret -}}
{{- $faults = append $faults "database.ca is for PostgreSQL: set database.existingSecret." -}}
{{- end -}}
{{- else -}}
{{- if not $values.masterKey.existingSecret -}}
{{- $faults = append $faults "PostgreSQL needs a master key: set masterKey.existingSecret. Make a key with `openssl rand -base64 32`." -}}
{{- end -}}
{{- if $values.persistence.existingClaim -}}
{{- $faults = append $faults "persistence.existingClaim is the volume of SQLite, and database.existingSecret says PostgreSQL." -}}
{{- end -}}
{{- end -}}
{{- if and $values.masterKey.previousKey (not $values.masterKey.existingSecret) -}}
{{- $faults = append $faults "masterKey.previousKey is a key of masterKey.existingSecret, which is not set." -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- $faults = append $faults "autoscaling.minReplicas is over autoscaling.maxReplicas." -}}
{{- end -}}

{{- /* Mail. */ -}}
{{- if and $values.smtp.existingSecret (not (dig "mail" "from" "" $config)) -}}
{{- $faults = append $faults "smtp.existingSecret needs a sender: set config.mail.from." -}}
{{- end -}}

{{- /* TLS. */ -}}
{{- with $values.tls -}}
{{- if .enabled -}}
{{- if and .certManager.enabled .existingSecret -}}
{{- $faults = append $faults "tls.existingSecret and tls.certManager.enabled both name a certificate: choose one." -}}
{{- else if not (or .certManager.enabled .existingSecret) -}}
{{- $faults = append $faults "tls.enabled needs a certificate: set tls.existingSecret or tls.certManager.enabled." -}}
{{- end -}}
{{- if and .certManager.enabled (not .certManager.issuerRef.name) -}}
{{- $faults = append $faults "tls.certManager.enabled needs an issuer: set tls.certManager.issuerRef.name." -}}
{{- end -}}
{{- else -}}
{{- if .clientCA.existingSecret -}}
{{- $faults = append $faults "tls.clientCA asks clients for certificates, which needs tls.enabled." -}}
{{- end -}}
{{- if .certManager.enabled -}}
{{- $faults = append $faults "tls.certManager.enabled makes a certificate that nothing serves: set tls.enabled." -}}
{{- end -}}
{{- if .existingSecret -}}
{{- $faults = append $faults "tls.existingSecret is a certificate that nothing serves: set tls.enabled." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Ways in. */ -}}
{{- with $values.ingress -}}
{{- if and .enabled (not .hosts) -}}
{{- $faults = append $faults "ingress.enabled needs a host: set ingress.hosts." -}}
{{- end -}}
{{- if and .grpc.enabled (not .enabled) -}}
{{- $faults = append $faults "ingress.grpc.enabled goes with ingress.enabled, whose hosts it has." -}}
{{- end -}}
{{- if .enabled -}}
{{- $annotations := merge (dict) .grpc.annotations .annotations -}}
{{- $nginx := "nginx.ingress.kubernetes.io/" -}}
{{- $passthrough := eq "true" (get .annotations (printf "%sssl-passthrough" $nginx) | toString) -}}
{{- if and $passthrough (not $values.tls.enabled) -}}
{{- $faults = append $faults "ingress.annotations passes TLS through, and the service speaks none: set tls.enabled." -}}
{{- end -}}
{{- if and $passthrough .grpc.enabled -}}
{{- $faults = append $faults "ingress.grpc.enabled tells gRPC by its path, which nobody sees where TLS is passed through: one Ingress carries both." -}}
{{- end -}}
{{- if and $values.tls.clientCA.existingSecret (not $passthrough) (not (hasKey $annotations (printf "%sproxy-ssl-secret" $nginx))) -}}
{{- $faults = append $faults "tls.clientCA asks the Ingress controller for a certificate, too: pass TLS through, give it one (nginx.ingress.kubernetes.io/proxy-ssl-secret), or leave the Ingress out." -}}
{{- end -}}
{{- range $which, $own := dict "ingress.annotations" .annotations "ingress.grpc.annotations" .grpc.annotations -}}
{{- $protocol := get $own (printf "%sbackend-protocol" $nginx) | toString -}}
{{- if and $values.tls.enabled (has $protocol (list "HTTP" "GRPC")) -}}
{{- $faults = append $faults (printf "%s: backend-protocol %s is without TLS, which tls.enabled turns on: say %sS." $which $protocol $protocol) -}}
{{- else if and (not $values.tls.enabled) (has $protocol (list "HTTPS" "GRPCS")) -}}
{{- $faults = append $faults (printf "%s: backend-protocol %s is TLS, which the service does not speak: set tls.enabled." $which $protocol) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $kind := list "httpRoute" "grpcRoute" -}}
{{- $route := get $values $kind -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- $faults = append $faults (printf "%s.enabled needs a Gateway: set %s.parentRefs." $kind $kind) -}}
{{- end -}}
{{- end -}}
{{- if and $values.httpRoute.enabled $values.grpcRoute.enabled -}}
{{- $http := $values.httpRoute.hostnames -}}
{{- $grpc := $values.grpcRoute.hostnames -}}
{{- $common := list -}}
{{- range $http }}{{ if has . $grpc }}{{ $common = append $common . }}{{ end }}{{ end -}}
{{- if or $common (not $http) (not $grpc) -}}
{{- $faults = append $faults "httpRoute and grpcRoute have a host in common, of which a Gateway refuses one: give them different hostnames, or leave grpcRoute out, since httpRoute carries gRPC, too." -}}
{{- end -}}
{{- end -}}
{{- if and $values.internal.enabled $values.networkPolicy.enabled (not $values.networkPolicy.internal.from) -}}
{{- $faults = append $faults "internal.enabled opens a port that networkPolicy.internal.from lets nobody reach: name who asks." -}}
{{- end -}}
{{- if and $values.service.loadBalancerSourceRanges (ne $values.service.type "LoadBalancer") -}}
{{- $faults = append $faults "service.loadBalancerSourceRanges is only for service.type LoadBalancer." -}}
{{- end -}}
{{- if and $values.service.externalTrafficPolicy (eq $values.service.type "ClusterIP") -}}
{{- $faults = append $faults "service.externalTrafficPolicy is not for service.type ClusterIP." -}}
{{- end -}}

{{- /* Coming and going. */ -}}
{{- $drain := include "countersign.drainSeconds" . | int64 -}}
{{- if not (kindIs "invalid" $values.terminationGracePeriodSeconds) -}}
{{- if le (int64 $values.terminationGracePeriodSeconds) $drain -}}
{{- $faults = append $faults (printf "terminationGracePeriodSeconds is %d, and config.server.drain_delay and drain_timeout together are %d s: a pod would be killed while it drains." (int64 $values.terminationGracePeriodSeconds) $drain) -}}
{{- end -}}
{{- end -}}
{{- with $values.podDisruptionBudget -}}
{{- if .enabled -}}
{{- if and (not (kindIs "invalid" .minAvailable)) (not (kindIs "invalid" .maxUnavailable)) -}}
{{- $faults = append $faults "podDisruptionBudget.minAvailable and maxUnavailable exclude each other: set the other to null." -}}
{{- else if and (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable) -}}
{{- $faults = append $faults "podDisruptionBudget.enabled needs minAvailable or maxUnavailable." -}}
{{- else if and (or (kindIs "float64" .minAvailable) (kindIs "int64" .minAvailable)) (ge (int .minAvailable) (include "countersign.replicas" $ | int)) (gt (include "countersign.replicas" $ | int) 1) -}}
{{- $faults = append $faults "podDisruptionBudget.minAvailable is all replicas there may be, so no node could be drained." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Watching. */ -}}
{{- if not $values.metrics.enabled -}}
{{- if $values.metrics.serviceMonitor.enabled -}}
{{- $faults = append $faults "metrics.serviceMonitor.enabled needs the Service of metrics.enabled." -}}
{{- end -}}
{{- if $values.metrics.prometheusRule.enabled -}}
{{- $faults = append $faults "metrics.prometheusRule.enabled looks at metrics, which metrics.enabled turns off." -}}
{{- end -}}
{{- end -}}

{{- /* Memory. 400 bytes are what a token takes in the cache, and there are two caches. */ -}}
{{- $limit := dig "limits" "memory" "" $values.resources -}}
{{- if $limit -}}
{{- $passwords := $config.passwords | default dict -}}
{{- $each := add (div (add (int64 (get $passwords "memory_kib" | default 19456)) 1023) 1024) 1 -}}
{{- $hashing := mul (int64 (get $passwords "max_concurrent" | default 2)) $each -}}
{{- $caches := div (mul (int64 (dig "validation" "cache_entries" 100000 $config)) 800) 1048576 -}}
{{- $needed := add 24 $hashing $caches -}}
{{- if lt (include "countersign.mebibytes" $limit | int64) $needed -}}
{{- $faults = append $faults (printf "resources.limits.memory is %s, and at least %dMi are needed: 24 for the service, %d for the passwords hashed at once (config.passwords), %d for the caches (config.validation.cache_entries)." (toString $limit) $needed $hashing $caches) -}}
{{- end -}}
{{- end -}}

{{- if $faults -}}
{{- fail (printf "\n\n%s\n" (join "\n" $faults)) -}}
{{- end -}}
{{- end }}
