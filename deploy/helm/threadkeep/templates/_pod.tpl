{{- /* What all pods have in common. Each is given (dict "root" $ "program" NAME). */ -}}
{{- define "threadkeep.podLabels" -}}
{{ include "threadkeep.labels" .root }}
app.kubernetes.io/component: {{ .program }}
{{- end }}

{{- define "threadkeep.podSelector" -}}
{{ include "threadkeep.selector" .root }}
app.kubernetes.io/component: {{ .program }}
{{- end }}

{{- define "threadkeep.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "threadkeep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "threadkeep.place" -}}
{{- $own := index .root.Values .program -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "threadkeep.podSecurity" . | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "threadkeep.podSelector" . | nindent 8 }}
volumes:
  - name: temporary
    emptyDir: {medium: Memory, sizeLimit: 64Mi}
  - name: metrics
    emptyDir: {medium: Memory, sizeLimit: 64Mi}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- range $variable, $from := include "threadkeep.secrets" . | fromYaml }}
        - secret:
            name: {{ $from.name }}
            items: [{key: {{ $from.key | quote }}, path: {{ $variable }}}]
        {{- end }}
  {{- with $own.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* The secrets of a program, by variable. */ -}}
{{- define "threadkeep.secrets" -}}
{{- $found := dict -}}
{{- range $variable, $from := index .root.Values.secrets .program }}
{{- if $from }}{{ $_ := set $found $variable $from }}{{ end }}
{{- end }}
{{- if and .root.Values.metrics.token.name (has .program (list "web" "realtime")) }}
{{- $_ := set $found "THREADKEEP_METRICS_TOKEN" .root.Values.metrics.token }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{- /* The middle of a container: image, environment, rights, room. */ -}}
{{- define "threadkeep.container" -}}
{{- $own := index .root.Values .program -}}
image: {{ include "threadkeep.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- include "threadkeep.containerSecurity" . | nindent 2 }}
env:
  {{- range $variable, $value := merge (dict) $own.settings .root.Values.settings }}
  - {name: {{ $variable }}, value: {{ $value | quote }}}
  {{- end }}
  {{- range $variable, $from := include "threadkeep.secrets" . | fromYaml }}
  - {name: {{ $variable }}_FILE, value: /run/secrets/threadkeep/{{ $variable }}}
  {{- end }}
resources: {{- toYaml $own.resources | nindent 2 }}
volumeMounts:
  - {name: temporary, mountPath: /tmp}
  - {name: metrics, mountPath: /run/threadkeep}
  - {name: secrets, mountPath: /run/secrets/threadkeep, readOnly: true}
  {{- with $own.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Probes mean progress: /healthz of the web is 503 if no request ends any more, and worker and
       beat are asked whether they polled and ticked. None of them asks another server. */ -}}
{{- define "threadkeep.probes" -}}
{{- $listens := dict "web" "/healthz" "realtime" "/healthz" "flower" "/healthcheck" -}}
{{- if hasKey $listens .program }}
startupProbe:
  httpGet: {path: {{ get $listens .program }}, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: {{ get $listens .program }}, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: {{ ternary "/healthcheck" "/readyz" (eq .program "flower") }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- else }}
{{- $command := list "python" "-m" "tasks.programs.probe" .program | toJson }}
startupProbe:
  exec: {command: {{ $command }}}
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: 30
livenessProbe:
  exec: {command: {{ $command }}}
  periodSeconds: 30
  timeoutSeconds: 10
  failureThreshold: 3
{{- end }}
{{- end }}
