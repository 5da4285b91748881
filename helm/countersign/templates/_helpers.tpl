{{/* Names and labels. */}}

{{- define "countersign.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* At most 53 characters: `-internal`, `-metrics` and the like follow. */}}
{{- define "countersign.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Service without an address; a name has 63 characters. */}}
{{- define "countersign.headless" -}}
{{- printf "%s-internal-headless" (include "countersign.fullname" . | trunc 45 | trimSuffix "-") -}}
{{- end }}

{{/* What of the service is selected by; (list $ COMPONENT). */}}
{{- define "countersign.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "countersign.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The labels of everything; (list $ COMPONENT LABELS). Of one that is there twice, the chart's goes before LABELS, and these before commonLabels. */}}
{{- define "countersign.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := include "countersign.selector" . | fromYaml -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- toYaml (merge $labels (index . 2 | default dict) ($root.Values.commonLabels | default dict)) -}}
{{- end }}

{{/* `metadata:` but for annotations; (list $ COMPONENT NAME), or (list $ COMPONENT NAME LABELS). */}}
{{- define "countersign.metadata" -}}
name: {{ index . 2 }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "countersign.labels" (list (index . 0) (index . 1) (ternary (last .) dict (gt (len .) 3))) | nindent 2 }}
{{- end }}

{{- define "countersign.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "countersign.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "countersign.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* "true" or nothing. */}}
{{- define "countersign.postgres" -}}
{{- if .Values.database.existingSecret }}true{{ end -}}
{{- end }}

{{/* The least number of replicas there is. */}}
{{- define "countersign.replicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end }}

{{/* The Secret with the certificate that is served. */}}
{{- define "countersign.tlsSecret" -}}
{{- ternary (printf "%s-tls" (include "countersign.fullname" .)) .Values.tls.existingSecret .Values.tls.certManager.enabled -}}
{{- end }}

{{/* The port of a URL. */}}
{{- define "countersign.port" -}}
{{- regexFind "^[a-z]+://[^/?#]*" . | regexFind ":[0-9]+$" | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "http:" .)) -}}
{{- end }}

{{/* What is at a port that the NetworkPolicy does not let out, as a fault, or nothing; (list $ WHAT URL RULE), the rule by its name in egress. */}}
{{- define "countersign.unreachable" -}}
{{- $egress := (index . 0).Values.networkPolicy.egress -}}
{{- $port := include "countersign.port" (index . 2) -}}
{{- $ports := list -}}
{{- range (get $egress (index . 3)).ports }}{{ $ports = append $ports (int . | toString) }}{{ end -}}
{{- if and (index . 0).Values.networkPolicy.enabled $egress.enabled (not $egress.extra) (not (has $port $ports)) -}}
{{- printf "%s is at port %s, which the NetworkPolicy keeps the service from: add it to networkPolicy.egress.%s.ports, or a rule to networkPolicy.egress.extra." (index . 1) $port (index . 3) -}}
{{- end -}}
{{- end }}

{{/* "1h30m", as cert-manager has it, as a number of seconds. */}}
{{- define "countersign.seconds" -}}
{{- $sum := 0 -}}
{{- $units := dict "h" 3600 "m" 60 "s" 1 -}}
{{- range regexFindAll "[0-9]+[hms]" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[hms]$" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{/* "20s" as a number of milliseconds. */}}
{{- define "countersign.milliseconds" -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $units := dict "ms" 1 "s" 1000 "sec" 1000 "m" 60000 "min" 60000 "h" 3600000 "d" 86400000 -}}
{{- if not (and (regexMatch "^[0-9]+ ?[a-z]+$" .) (hasKey $units $unit)) -}}
{{- fail (printf "%q is not a duration: write a whole number and one of ms, s, m, h, d, such as 20s." .) -}}
{{- end -}}
{{- mul (regexFind "^[0-9]+" . | int64) (get $units $unit) -}}
{{- end }}

{{/* Drain delay and time-out together, in seconds, rounded up. */}}
{{- define "countersign.drainSeconds" -}}
{{- $server := .Values.config.server | default dict -}}
{{- $delay := include "countersign.milliseconds" (get $server "drain_delay" | default "0s" | toString) | int64 -}}
{{- $timeout := include "countersign.milliseconds" (get $server "drain_timeout" | default "20s" | toString) | int64 -}}
{{- div (add $delay $timeout 999) 1000 -}}
{{- end }}

{{/* "256Mi" as a whole number of MiB. */}}
{{- define "countersign.mebibytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+" $text | float64 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $units := dict "" 1.0 "k" 1000.0 "M" 1000000.0 "G" 1000000000.0 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 -}}
{{- if not (and (regexMatch "^[0-9]+([.][0-9]+)?[A-Za-z]*$" $text) (hasKey $units $unit)) -}}
{{- fail (printf "resources.limits.memory: %q is not a quantity such as 256Mi." $text) -}}
{{- end -}}
{{- divf (mulf $number (get $units $unit)) 1048576.0 | floor | int64 -}}
{{- end }}

{{/* The annotations of a hook that runs before an installation or upgrade; its weight. */}}

{{- define "countersign.hook" -}}
annotations:
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-weight: {{ . | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* An egress rule of {to, ports}; no `to` is anywhere. */}}
{{- define "countersign.egress" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- define "countersign.egress.dns" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
  {{- with .Values.networkPolicy.egress.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
