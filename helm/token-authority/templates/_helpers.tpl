{{- define "token-authority.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is appended to it. */}}
{{- define "token-authority.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- $name := include "token-authority.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "token-authority.selectorLabels" -}}
app.kubernetes.io/name: {{ include "token-authority.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{/* Takes a component, so that no Service finds a Job's pods. */}}
{{- define "token-authority.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "token-authority.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "token-authority.serverLabels" -}}
{{- include "token-authority.labels" (dict "root" . "component" "server") }}
{{- end }}

{{- define "token-authority.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "token-authority.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "token-authority.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "token-authority.claimName" -}}
{{- default (printf "%s-data" (include "token-authority.fullname" .)) .Values.persistence.existingClaim }}
{{- end }}

{{/* The name that a certificate has to have. */}}
{{- define "token-authority.host" -}}
{{- printf "%s.%s.svc" (include "token-authority.fullname" .) .Release.Namespace }}
{{- end }}

{{/* The address that gRPC is called at. */}}
{{- define "token-authority.url" -}}
{{- printf "%s://%s:%d" (ternary "https" "http" .Values.tls.enabled) (include "token-authority.host" .) (int .Values.service.grpcPort) }}
{{- end }}

{{/* "yes" where more than one replica may run. */}}
{{- define "token-authority.several" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}yes{{ end }}
{{- end }}

{{- define "token-authority.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "token-authority.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The database's URL holds a password: it comes from a Secret. */}}
{{- define "token-authority.env" -}}
{{- if eq .Values.database.kind "postgresql" }}
- name: TOKEN_AUTHORITY__DATABASE__URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.existingSecretKey }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* For commands that are run in the pod; the server reads neither. */}}
{{- define "token-authority.clientEnv" -}}
{{- if .Values.tls.enabled }}
- name: TOKEN_AUTHORITY_URL
  value: {{ include "token-authority.url" . | quote }}
- name: TOKEN_AUTHORITY_CA_FILE
  value: /run/secrets/token-authority/tls/ca.crt
{{- end }}
{{- end }}

{{- define "token-authority.volumes" -}}
- name: settings
  configMap:
    name: {{ include "token-authority.fullname" . }}
- name: data
{{- if and (eq .Values.database.kind "sqlite") .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "token-authority.claimName" . }}
{{- else }}
  emptyDir: {}
{{- end }}
# SQLite sorts what is too much for memory here.
- name: tmp
  emptyDir: {}
{{- with .Values.masterKey.existingSecret }}
- name: master-key
  secret:
    secretName: {{ . }}
    defaultMode: 0400
    items:
      - key: {{ $.Values.masterKey.existingSecretKey }}
        path: master.key
{{- end }}
{{- with .Values.adminToken.existingSecret }}
- name: admin-token
  secret:
    secretName: {{ . }}
    defaultMode: 0400
    items:
      - key: {{ $.Values.adminToken.existingSecretKey }}
        path: admin.token
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ .Values.tls.existingSecret }}
    defaultMode: 0400
{{- if ne .Values.tls.clientCertificates "none" }}
- name: client-ca
  secret:
    secretName: {{ default .Values.tls.existingSecret .Values.tls.clientCaSecret }}
    defaultMode: 0400
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whole directories, never single files: those would not follow a Secret that
     is replaced. */}}
{{- define "token-authority.volumeMounts" -}}
- name: settings
  mountPath: /etc/token-authority
  readOnly: true
- name: data
  mountPath: /var/lib/token-authority
- name: tmp
  mountPath: /tmp
{{- if .Values.masterKey.existingSecret }}
- name: master-key
  mountPath: /run/secrets/token-authority/master-key
  readOnly: true
{{- end }}
{{- if .Values.adminToken.existingSecret }}
- name: admin-token
  mountPath: /run/secrets/token-authority/admin-token
  readOnly: true
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  mountPath: /run/secrets/token-authority/tls
  readOnly: true
{{- if ne .Values.tls.clientCertificates "none" }}
- name: client-ca
  mountPath: /run/secrets/token-authority/client-ca
  readOnly: true
{{- end }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "token-authority.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
