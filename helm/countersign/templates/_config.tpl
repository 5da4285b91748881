{{/*
countersign.toml. What config says, and over it what the chart decides: where it listens, and where mounted secrets are. A
path of a secret stands in it, never a secret.
*/}}

{{/* Where clients reach the service, unless config.server.public_url says so; which it has to with PostgreSQL, and with a wildcard. */}}
{{- define "countersign.publicUrl" -}}
{{- $scheme := ternary "https" "http" .Values.tls.enabled -}}
{{- if .Values.ingress.enabled -}}
{{- printf "%s://%s" (ternary "https" "http" (gt (len .Values.ingress.tls) 0)) (first .Values.ingress.hosts).host -}}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
{{- printf "https://%s" (first .Values.httpRoute.hostnames) -}}
{{- else -}}
{{- printf "%s://%s.%s.svc:%d" $scheme (include "countersign.fullname" .) .Release.Namespace (int .Values.service.port) -}}
{{- end -}}
{{- end }}

{{/* The whole configuration as YAML; (list $ WHETHER IT IS THE SERVER'S). The migration's knows nothing of certificates, which may not be there yet. */}}
{{- define "countersign.config" -}}
{{- $root := index . 0 -}}
{{- include "countersign.validate" $root -}}
{{- $values := $root.Values -}}
{{- $config := deepCopy $values.config -}}
{{- range list "server" "database" "secrets" "mail" }}{{ if not (get $config .) }}{{ $_ := set $config . dict }}{{ end }}{{ end -}}
{{- $secrets := "/run/secrets/countersign" -}}
{{- $data := "/var/lib/countersign" -}}
{{- with $config.server -}}
{{- $_ := set . "listen" (printf "%s:50051" $values.listenAddress) -}}
{{- $_ := set . "metrics_listen" (printf "%s:9464" $values.listenAddress) -}}
{{- if $values.internal.enabled }}{{ $_ := set . "internal_listen" (printf "%s:50052" $values.listenAddress) }}{{ end -}}
{{- if not .public_url }}{{ $_ := set . "public_url" (include "countersign.publicUrl" $root) }}{{ end -}}
{{- if and $values.tls.enabled (index $ 1) -}}
{{- $tls := dict "cert" "/run/secrets/tls/tls.crt" "key" "/run/secrets/tls/tls.key" -}}
{{- if $values.tls.clientCA.existingSecret }}{{ $_ := set $tls "client_ca" "/run/secrets/client-ca/ca.crt" }}{{ end -}}
{{- $_ := set . "tls" $tls -}}
{{- end -}}
{{- end -}}
{{- if include "countersign.postgres" $root -}}
{{- $_ := set $config.database "url_file" (printf "%s/database_url" $secrets) -}}
{{- if $values.database.directUrlKey }}{{ $_ := set $config.database "direct_url_file" (printf "%s/database_direct_url" $secrets) }}{{ end -}}
{{- $_ := set $config.database "migrate_on_start" (not $values.migration.enabled) -}}
{{- else -}}
{{- $_ := set $config.database "url" (printf "sqlite://%s/countersign.db" $data) -}}
{{- end -}}
{{- with $values.masterKey -}}
{{- if .existingSecret }}{{ $_ := set $config.secrets "master_key_file" (printf "%s/master_key" $secrets) }}{{ end -}}
{{- if .previousKey }}{{ $_ := set $config.secrets "previous_master_keys_file" (printf "%s/previous_master_keys" $secrets) }}{{ end -}}
{{- end -}}
{{- if $values.smtp.existingSecret -}}
{{- $_ := set $config.mail "transport" "smtp" -}}
{{- $_ := set $config.mail "smtp_url_file" (printf "%s/smtp_url" $secrets) -}}
{{- else -}}
{{- $_ := set $config.mail "transport" "file" -}}
{{- $_ := set $config.mail "dir" (printf "%s/mail" $data) -}}
{{- end -}}
{{- if $values.mailTemplatesConfigMap }}{{ $_ := set $config.mail "templates_dir" "/etc/countersign/templates" }}{{ end -}}
{{- range $name, $_ := $values.oauthSecrets -}}
{{- $_ := set (get $config.oauth.providers $name) "client_secret_file" (printf "%s/oauth/%s" $secrets $name) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* A table in TOML, and the tables in it; (list NAME TABLE). */}}
{{- define "countersign.table" -}}
{{- $name := index . 0 -}}
{{- $plain := dict -}}
{{- $tables := dict -}}
{{- range $key, $value := index . 1 -}}
{{- if kindIs "map" $value }}{{ $_ := set $tables $key $value }}{{ else if not (kindIs "invalid" $value) }}{{ $_ := set $plain $key $value }}{{ end -}}
{{- end -}}
{{- if $plain }}
[{{ $name }}]
{{- range $key, $value := $plain }}
{{ $key }} = {{ include "countersign.scalar" $value }}
{{- end }}
{{ end -}}
{{- range $key, $table := $tables }}{{ include "countersign.table" (list (printf "%s.%s" $name $key) $table) }}{{ end -}}
{{- end }}

{{/* A value in TOML, whose strings are those of JSON. A whole number has no fraction, however YAML held it. */}}
{{- define "countersign.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ toRawJson . }}{{ end -}}
{{- end }}

{{- define "countersign.toml" -}}
{{- range $section, $table := include "countersign.config" . | fromYaml }}{{ include "countersign.table" (list $section $table) }}{{ end -}}
{{- end }}
