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
{{- range $key, $_ := $config.secrets -}}
{{- if not (hasKey $owned (printf "secrets.%s" $key)) -}}
{{- $faults = append $faults (printf "config.secrets.%s would be in a ConfigMap, where no secret belongs: use masterKey." $key) -}}
{{- end -}}
{{- end -}}
{{- range $section, $table := $config -}}
{{- range $key, $value := $table -}}
{{- if and (not (hasKey $owned (printf "%s.%s" $section $key))) (regexMatch `://[^/@"\s]*:[^/@"\s]*@` (toRawJson $value)) -}}
{{- $faults = append $faults (printf "config.%s.%s has a URL with a password, which would be in a ConfigMap: leave the password out." $section $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $providers := dig "oauth" "providers" dict $config -}}
{{- range $name, $provider := $providers -}}
{{- $secrets := list -}}
{{- range $key, $_ := $provider }}{{ if contains "secret" (lower $key) }}{{ $secrets = append $secrets $key }}{{ end }}{{ end -}}
{{- range $secrets -}}
{{- $faults = append $faults (printf "config.oauth.providers.%s.%s would be in a ConfigMap: use oauthSecrets.%s." $name . $name) -}}
{{- end -}}
{{- if not (or $secrets (hasKey $values.oauthSecrets $name)) -}}
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
{{- if not $server.public_url -}}
{{- $faults = append $faults "PostgreSQL needs config.server.public_url: it is the issuer of tokens, and one that followed the hosts would change with them, so that old and new replicas refused each other's tokens." -}}
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
{{- if and .certManager.enabled (le (include "countersign.seconds" .certManager.duration | int64) (include "countersign.seconds" .certManager.renewBefore | int64)) -}}
{{- $faults = append $faults "tls.certManager.renewBefore is not under tls.certManager.duration, so the certificate would be renewed without end." -}}
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
{{- $needed := "" -}}
{{- if hasPrefix "ingress.grpc" $which -}}
{{- if $values.ingress.grpc.enabled }}{{ $needed = ternary "GRPCS" "GRPC" $values.tls.enabled }}{{ end -}}
{{- else if and $values.tls.enabled (not $passthrough) -}}
{{- $needed = "HTTPS" -}}
{{- end -}}
{{- if and $needed (not $protocol) (eq $values.ingress.className "nginx") (not (contains "nginx.org/" (keys $annotations | join " "))) -}}
{{- $faults = append $faults (printf "%s: ingress-nginx speaks HTTP/1.1 without TLS to the service unless it is told: set %sbackend-protocol: %s." $which $nginx $needed) -}}
{{- end -}}
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
{{- if and $route.enabled $values.tls.clientCA.existingSecret -}}
{{- $faults = append $faults (printf "tls.clientCA asks the Gateway for a certificate, too, which %s cannot give it: leave the route out, or write a TLSRoute that passes TLS through." $kind) -}}
{{- else if and $route.enabled $values.tls.enabled (not $values.backendTLSPolicy.enabled) -}}
{{- $faults = append $faults (printf "%s leads a Gateway to a service that speaks TLS alone, and nothing tells it whose certificate to take: set backendTLSPolicy.enabled." $kind) -}}
{{- end -}}
{{- end -}}
{{- if and $values.backendTLSPolicy.enabled (not $values.tls.enabled) -}}
{{- $faults = append $faults "backendTLSPolicy.enabled has Gateways speak TLS, which the service does not: set tls.enabled." -}}
{{- end -}}
{{- if and $values.tls.enabled (has $values.service.appProtocol (list "kubernetes.io/h2c" "http")) -}}
{{- $faults = append $faults (printf "service.appProtocol %s is without TLS, which tls.enabled turns on: leave it empty." $values.service.appProtocol) -}}
{{- else if and (not $values.tls.enabled) (eq $values.service.appProtocol "https") -}}
{{- $faults = append $faults "service.appProtocol https is TLS, which the service does not speak: set tls.enabled." -}}
{{- end -}}
{{- if not $server.public_url -}}
{{- $host := "" -}}
{{- if $values.ingress.enabled -}}
{{- with $values.ingress.hosts }}{{ $host = (first .).host }}{{ end -}}
{{- else if $values.httpRoute.enabled -}}
{{- with $values.httpRoute.hostnames }}{{ $host = first . }}{{ end -}}
{{- end -}}
{{- if contains "*" $host -}}
{{- $faults = append $faults (printf "The host %s is no address that tokens and links could name: set config.server.public_url." $host) -}}
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
{{- else if gt (include "countersign.replicas" $ | int) 1 -}}
{{- $replicas := include "countersign.replicas" $ | int -}}
{{- if kindIs "invalid" .minAvailable -}}
{{- if eq "0" (trimSuffix "%" (toString .maxUnavailable)) -}}
{{- $faults = append $faults "podDisruptionBudget.maxUnavailable is none, so no node could be drained." -}}
{{- end -}}
{{- else -}}
{{- $least := int .minAvailable -}}
{{- /* Kubernetes rounds up. */ -}}
{{- if kindIs "string" .minAvailable }}{{ $least = div (add (mul (trimSuffix "%" .minAvailable | int) $replicas) 99) 100 | int }}{{ end -}}
{{- if ge $least $replicas -}}
{{- $faults = append $faults "podDisruptionBudget.minAvailable is all replicas there may be, so no node could be drained." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Ways out. */ -}}
{{- $urls := list -}}
{{- with dig "telemetry" "otlp_endpoint" "" $config }}{{ $urls = append $urls (list "config.telemetry.otlp_endpoint" (toString .) "otlp") }}{{ end -}}
{{- range $name, $provider := $providers -}}
{{- $own := list -}}
{{- range list "issuer" "token_url" "api_url" -}}
{{- if hasKey $provider . }}{{ $own = append $own (list (printf "config.oauth.providers.%s.%s" $name .) (get $provider . | toString) "https") }}{{ end -}}
{{- end -}}
{{- $urls = concat $urls ($own | default (list (list (printf "config.oauth.providers.%s" $name) "https://" "https"))) -}}
{{- end -}}
{{- range $urls -}}
{{- with include "countersign.unreachable" (concat (list $) .) }}{{ $faults = append $faults . }}{{ end -}}
{{- end -}}

{{- /* Watching. */ -}}
{{- if and $values.metrics.enabled $values.networkPolicy.enabled (not $values.networkPolicy.metrics.from) -}}
{{- $faults = append $faults "metrics.enabled opens a port that networkPolicy.metrics.from lets nobody reach: name who asks, or set metrics.enabled to false." -}}
{{- end -}}
{{- if not $values.metrics.enabled -}}
{{- if $values.metrics.serviceMonitor.enabled -}}
{{- $faults = append $faults "metrics.serviceMonitor.enabled needs the Service of metrics.enabled." -}}
{{- end -}}
{{- if $values.metrics.prometheusRule.enabled -}}
{{- $faults = append $faults "metrics.prometheusRule.enabled looks at metrics, which metrics.enabled turns off." -}}
{{- end -}}
{{- end -}}

{{- /* Memory. 400 bytes are what a token takes in the cache, and there are two caches. An imported hash takes 64 MiB at most, one at a time. */ -}}
{{- $limit := dig "limits" "memory" "" $values.resources -}}
{{- if $limit -}}
{{- $passwords := $config.passwords | default dict -}}
{{- $each := add (div (add (int64 (get $passwords "memory_kib" | default 19456)) 1023) 1024) 1 -}}
{{- $hashing := mul (int64 (get $passwords "max_concurrent" | default 2)) $each -}}
{{- $caches := div (mul (int64 (dig "validation" "cache_entries" 100000 $config)) 800) 1048576 -}}
{{- $needed := add 24 $hashing 64 $caches -}}
{{- if lt (include "countersign.mebibytes" $limit | int64) $needed -}}
{{- $faults = append $faults (printf "resources.limits.memory is %s, and at least %dMi are needed: 24 for the service, %d for the passwords hashed at once (config.passwords), 64 for a hash that was imported, %d for the caches (config.validation.cache_entries)." (toString $limit) $needed $hashing $caches) -}}
{{- end -}}
{{- end -}}

{{- if $faults -}}
{{- fail (printf "\n\n%s\n" (join "\n" $faults)) -}}
{{- end -}}
{{- end }}
