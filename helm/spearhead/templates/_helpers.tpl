{{- define "spearhead.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "spearhead.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Labels that select a component's pods: dict "root" "component". */}}
{{- define "spearhead.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "spearhead.labels" -}}
{{ include "spearhead.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "spearhead.claim" -}}
{{ .Values.storage.existingClaim | default (printf "%s-data" (include "spearhead.fullname" .)) }}
{{- end }}

{{- define "spearhead.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.runAsUser }}
fsGroup: {{ .Values.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "spearhead.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Secrets as settings; everything else comes from the settings ConfigMap. */}}
{{- define "spearhead.secretEnv" -}}
- name: SPEARHEAD_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.redis.existingSecret }}
      key: {{ .Values.redis.key }}
{{- with .Values.kafka.existingSecret }}
- name: SPEARHEAD_KAFKA_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: username
- name: SPEARHEAD_KAFKA_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: password
{{- end }}
{{- range $store := list "redis" "kafka" }}
{{- with (get $.Values $store).tls }}
{{- if .keyPassword }}
- name: SPEARHEAD_{{ upper $store }}_KEY_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: tls.password
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.lake.s3.existingSecret }}
- name: SPEARHEAD_S3_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: access-key
- name: SPEARHEAD_S3_SECRET_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: secret-key
{{- end }}
{{- with .Values.lake.quarantineKeySecret }}
- name: SPEARHEAD_QUARANTINE_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: key
{{- end }}
{{- end }}

{{- define "spearhead.volumes" -}}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "spearhead.claim" . }}
- name: home
  emptyDir: {}
- name: tmp
  emptyDir: {}
{{- with .Values.contracts.configMap }}
- name: contracts
  configMap:
    name: {{ . }}
{{- end }}
{{- range $store := list "redis" "kafka" }}
{{- with (get $.Values $store).tls.existingSecret }}
- name: tls-{{ $store }}
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{- define "spearhead.volumeMounts" -}}
- name: data
  mountPath: /data
- name: home
  mountPath: /var/lib/spearhead
- name: tmp
  mountPath: /tmp
{{- if .Values.contracts.configMap }}
- name: contracts
  mountPath: /etc/spearhead/contracts
  readOnly: true
{{- end }}
{{- range $store := list "redis" "kafka" }}
{{- if (get $.Values $store).tls.existingSecret }}
- name: tls-{{ $store }}
  mountPath: /etc/spearhead/tls/{{ $store }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "spearhead.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the pods of runs are given, for dagster-k8s: the code location hands it to Dagster as its container context. */}}
{{- define "spearhead.runK8sConfig" -}}
container_config:
  resources: {{- toYaml .Values.dagster.runs.resources | nindent 4 }}
  securityContext: {{- include "spearhead.containerSecurityContext" . | nindent 4 }}
  env: {{- include "spearhead.secretEnv" . | nindent 4 }}
  envFrom:
    - configMapRef:
        name: {{ include "spearhead.fullname" . }}-settings
  volumeMounts: {{- include "spearhead.volumeMounts" . | nindent 4 }}
pod_spec_config:
  securityContext: {{- include "spearhead.podSecurityContext" . | nindent 4 }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  volumes: {{- include "spearhead.volumes" . | nindent 4 }}
  {{- with .Values.dagster.runs.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.dagster.runs.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
pod_template_spec_metadata:
  labels: {{- include "spearhead.labels" (dict "root" . "component" "run") | nindent 4 }}
job_spec_config:
  ttlSecondsAfterFinished: {{ .Values.dagster.runs.ttlSecondsAfterFinished }}
{{- end }}
