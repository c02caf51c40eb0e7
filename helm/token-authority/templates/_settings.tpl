{{/* Helm reads numbers as floating-point ones: those that are whole are written so.
     Changes the map that it is given. */}}
{{- define "token-authority.wholeNumbers" -}}
{{- range $key, $value := . }}
{{- if kindIs "float64" $value }}
{{- if eq $value (floor $value) }}
{{- $_ := set $ $key (int64 $value) }}
{{- end }}
{{- else if kindIs "map" $value }}
{{- include "token-authority.wholeNumbers" $value }}
{{- else if kindIs "slice" $value }}
{{- range $item := $value }}
{{- if kindIs "map" $item }}
{{- include "token-authority.wholeNumbers" $item }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the chart itself decides, as the server's settings. */}}
{{- define "token-authority.ownSettings" -}}
data_dir: /var/lib/token-authority
database:
  migrate_on_start: false
grpc:
  listen: "0.0.0.0:50051"
  {{- if .Values.tls.enabled }}
  tls:
    certificate_file: /run/secrets/token-authority/tls/tls.crt
    private_key_file: /run/secrets/token-authority/tls/tls.key
    {{- if ne .Values.tls.clientCertificates "none" }}
    client_ca_file: /run/secrets/token-authority/client-ca/ca.crt
    require_client_certificate: {{ eq .Values.tls.clientCertificates "required" }}
    {{- end }}
  {{- else }}
  allow_plaintext: true
  {{- end }}
http:
  listen: "0.0.0.0:8080"
  {{- if .Values.tls.enabled }}
  tls:
    certificate_file: /run/secrets/token-authority/tls/tls.crt
    private_key_file: /run/secrets/token-authority/tls/tls.key
  {{- else }}
  allow_plaintext: true
  {{- end }}
{{- if .Values.masterKey.existingSecret }}
keys:
  master_key_file: /run/secrets/token-authority/master-key/master.key
{{- end }}
{{- if .Values.adminToken.existingSecret }}
admin:
  token_file: /run/secrets/token-authority/admin-token/admin.token
{{- end }}
{{- end }}

{{/* The settings file, in TOML. The cluster's collector gets a copy of the audit trail
     where nobody says otherwise: after a restored backup or a failover, that tells
     what has to be revoked again. */}}
{{- define "token-authority.settings" -}}
{{- $settings := mustMergeOverwrite (dict "audit" (dict "stdout" true)) (deepCopy .Values.settings) }}
{{- include "token-authority.wholeNumbers" $settings }}
{{- $settings = mustMergeOverwrite $settings (include "token-authority.ownSettings" . | fromYaml) }}
{{- $text := toToml $settings }}
{{- if hasKey (fromToml $text) "Error" }}
{{- fail (printf "settings cannot be written as TOML: %s" $text) }}
{{- end }}
{{- $text }}
{{- end }}

{{/* What the chart decides is refused in settings, where it would be of no
     effect. */}}
{{- define "token-authority.refuseOwnSettings" -}}
{{- $instead := dict
      "database.url" "name a Secret in database.existingSecret"
      "database.migrate_on_start" "the migration Job does that: migration.enabled"
      "grpc.listen" "the pods' ports are fixed: service.grpcPort"
      "grpc.allow_plaintext" "say what protects calls: plaintext.protectedBy"
      "grpc.tls.certificate_file" "name a Secret in tls.existingSecret"
      "grpc.tls.private_key_file" "name a Secret in tls.existingSecret"
      "grpc.tls.client_ca_file" "name a Secret in tls.clientCaSecret"
      "grpc.tls.require_client_certificate" "say so in tls.clientCertificates"
      "http.listen" "the pods' ports are fixed: service.httpPort"
      "http.allow_plaintext" "say what protects calls: plaintext.protectedBy"
      "http.tls" "name a Secret in tls.existingSecret"
      "keys.master_key_file" "name a Secret in masterKey.existingSecret"
      "shutdown.delay" "set shutdown.preStopSeconds"
      "admin.token_file" "name a Secret in adminToken.existingSecret" }}
{{- range $path, $hint := $instead }}
{{- $at := $.Values.settings }}
{{- $found := true }}
{{- range $part := splitList "." $path }}
{{- if and $found (kindIs "map" $at) (hasKey $at $part) }}
{{- $at = get $at $part }}
{{- else }}
{{- $found = false }}
{{- end }}
{{- end }}
{{- if $found }}
{{- fail (printf "settings.%s is the chart's to decide: %s" $path $hint) }}
{{- end }}
{{- end }}
{{- end }}
