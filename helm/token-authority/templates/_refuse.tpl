{{/* What cannot work is refused here, with what to do instead. Wrong kinds of
     values and unknown names are the schema's to refuse. */}}
{{- define "token-authority.refuse" -}}
{{- $values := .Values }}
{{- $sqlite := eq $values.database.kind "sqlite" }}
{{- if and $sqlite (gt (int $values.replicaCount) 1) }}
{{- fail (printf "replicaCount is %d, but the embedded SQLite database serves one replica: set database.kind=postgresql, or replicaCount=1" (int $values.replicaCount)) }}
{{- end }}
{{- if and $sqlite $values.autoscaling.enabled }}
{{- fail "autoscaling.enabled is true, but the embedded SQLite database serves one replica: set database.kind=postgresql" }}
{{- end }}
{{- if and $sqlite $values.database.existingSecret }}
{{- fail "database.existingSecret is set, but database.kind is sqlite: set database.kind=postgresql, or take it away" }}
{{- end }}
{{- if and (not $sqlite) (not $values.database.existingSecret) }}
{{- fail "database.kind is postgresql: name the Secret that holds its URL in database.existingSecret (key database.existingSecretKey)" }}
{{- end }}
{{- if and (not $sqlite) (not $values.masterKey.existingSecret) }}
{{- fail "database.kind is postgresql, where pods keep no files and all replicas need one master key: name the Secret that holds it in masterKey.existingSecret" }}
{{- end }}
{{- if and $values.persistence.existingClaim (not $values.persistence.enabled) }}
{{- fail "persistence.existingClaim is set, but persistence.enabled is false" }}
{{- end }}
{{- if and $values.tls.enabled (not $values.tls.existingSecret) }}
{{- fail "tls.enabled is true: name the Secret with tls.crt and tls.key in tls.existingSecret" }}
{{- end }}
{{- if and (not $values.tls.enabled) (or $values.tls.existingSecret $values.tls.clientCaSecret (ne $values.tls.clientCertificates "none")) }}
{{- fail "tls.existingSecret, tls.clientCaSecret or tls.clientCertificates is set, but tls.enabled is false: nothing would be encrypted" }}
{{- end }}
{{- if and (not $values.tls.enabled) (eq $values.plaintext.protectedBy "network-policy") (not $values.networkPolicy.enabled) }}
{{- fail "nothing protects credentials on their way: tls.enabled and networkPolicy.enabled are both false; set one of them, or plaintext.protectedBy=mesh where a service mesh encrypts calls" }}
{{- end }}
{{- if and (not $values.tls.enabled) (eq $values.plaintext.protectedBy "network-policy") (ne $values.service.type "ClusterIP") }}
{{- fail (printf "service.type is %s, and calls are plaintext: what comes from outside the cluster may look like a node, whom no NetworkPolicy holds off; set tls.enabled=true" $values.service.type) }}
{{- end }}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" }}
{{- end }}
{{- $budget := $values.podDisruptionBudget }}
{{- if and $budget.enabled (include "token-authority.several" .) }}
{{- $has := ne (toString $budget.minAvailable) "" }}
{{- if eq $has (ne (toString $budget.maxUnavailable) "") }}
{{- fail "podDisruptionBudget takes one of minAvailable and maxUnavailable, and the other empty" }}
{{- end }}
{{- $least := ternary $values.autoscaling.minReplicas $values.replicaCount $values.autoscaling.enabled }}
{{- if or (and $has (not (kindIs "string" $budget.minAvailable)) (ge (int $budget.minAvailable) (int $least))) (has (toString $budget.minAvailable) (list "100%")) (has (toString $budget.maxUnavailable) (list "0" "0%")) }}
{{- fail "podDisruptionBudget would let no pod go, and no node could be drained" }}
{{- end }}
{{- end }}
{{- if and (include "token-authority.several" .) (eq (int $values.shutdown.preStopSeconds) 0) }}
{{- fail "shutdown.preStopSeconds is 0: balancers would send calls to a pod that has ended, while another could take them; set some seconds" }}
{{- end }}
{{- if lt (int $values.shutdown.graceSeconds) 50 }}
{{- fail "shutdown.graceSeconds has to be at least 50: the server finishes calls in flight for 30, and then writes down what it counted" }}
{{- end }}
{{- include "token-authority.refuseOwnSettings" . }}
{{- end }}
