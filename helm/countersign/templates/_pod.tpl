{{/* What the server's and the migration's pods have in common: the mounted configuration and secrets. */}}

{{/* (list $ CONFIGMAP) */}}
{{- define "countersign.volumes" -}}
{{- $values := (index . 0).Values -}}
- name: config
  configMap:
    name: {{ index . 1 }}
{{- $sources := include "countersign.secretSources" (index . 0) | trim }}
{{- if $sources }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- $sources | nindent 6 }}
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with $values.mailTemplatesConfigMap }}
- name: mail-templates
  configMap:
    name: {{ . }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "countersign.volumeMounts" -}}
- name: config
  mountPath: /etc/countersign/countersign.toml
  subPath: countersign.toml
  readOnly: true
{{- if include "countersign.secretSources" . }}
- name: secrets
  mountPath: /run/secrets/countersign
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- if .Values.mailTemplatesConfigMap }}
- name: mail-templates
  mountPath: /etc/countersign/templates
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Every secret there is, as one directory of files. */}}
{{- define "countersign.secretSources" -}}
{{- with .Values.database }}
{{- if .existingSecret }}
{{- include "countersign.secretSource" (list .existingSecret .urlKey "database_url") }}
{{- if .directUrlKey }}{{ include "countersign.secretSource" (list .existingSecret .directUrlKey "database_direct_url") }}{{ end }}
{{- end }}
{{- if .ca.existingSecret }}{{ include "countersign.secretSource" (list .ca.existingSecret .ca.key "database_ca.crt") }}{{ end }}
{{- end }}
{{- with .Values.masterKey }}
{{- if .existingSecret }}{{ include "countersign.secretSource" (list .existingSecret .key "master_key") }}{{ end }}
{{- if .previousKey }}{{ include "countersign.secretSource" (list .existingSecret .previousKey "previous_master_keys") }}{{ end }}
{{- end }}
{{- with .Values.smtp }}
{{- if .existingSecret }}{{ include "countersign.secretSource" (list .existingSecret .key "smtp_url") }}{{ end }}
{{- end }}
{{- range $name, $secret := .Values.oauthSecrets }}
{{- include "countersign.secretSource" (list $secret.existingSecret ($secret.key | default "client-secret") (printf "oauth/%s" $name)) }}
{{- end }}
{{- end }}

{{- define "countersign.secretSource" }}
- secret:
    name: {{ index . 0 }}
    items:
      - key: {{ index . 1 }}
        path: {{ index . 2 }}
{{- end }}

{{/* What every pod of the chart has; the service account's token is of no use to any. */}}
{{- define "countersign.podDefaults" -}}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "countersign.containerDefaults" -}}
image: {{ include "countersign.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}
