{{- define "evaluation-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "evaluation-proxy.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "evaluation-proxy.selectorLabels" -}}
app.kubernetes.io/name: {{ include "evaluation-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "evaluation-proxy.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "evaluation-proxy.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "evaluation-proxy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "evaluation-proxy.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* The official chart's image is another program: its repository and tag are passed over. */}}
{{- define "evaluation-proxy.isOfficialImage" -}}
{{- regexMatch "^((index\\.)?docker\\.io/)?amplitudeinc/evaluation-proxy$" .Values.image.repository | ternary "yes" "" }}
{{- end }}

{{- define "evaluation-proxy.image" -}}
{{- if include "evaluation-proxy.isOfficialImage" . }}
{{- printf "evaluation-proxy:%s" .Chart.AppVersion }}
{{- else if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "evaluation-proxy.configuration" -}}
{{- (default dict .Values.evaluationProxy).configuration | default dict | toJson }}
{{- end }}

{{- define "evaluation-proxy.metrics" -}}
{{- (include "evaluation-proxy.configuration" . | fromJson).metrics | default dict | toJson }}
{{- end }}

{{- define "evaluation-proxy.scheme" -}}
{{- $tls := (include "evaluation-proxy.configuration" . | fromJson).tls | default dict }}
{{- $tls.certFile | empty | ternary "http" "https" }}
{{- end }}

{{- define "evaluation-proxy.clientsPort" -}}
{{- $port := (include "evaluation-proxy.configuration" . | fromJson).port }}
{{- $port | toString | empty | or (kindIs "invalid" $port) | ternary 3546 $port | int }}
{{- end }}

{{- define "evaluation-proxy.operatorsPort" -}}
{{- $port := (include "evaluation-proxy.metrics" . | fromJson).port }}
{{- $port | toString | empty | or (kindIs "invalid" $port) | ternary 9090 $port | int }}
{{- end }}

{{- define "evaluation-proxy.metricsPath" -}}
/{{ (include "evaluation-proxy.metrics" . | fromJson).path | default "metrics" | trimAll "/" }}
{{- end }}

{{- define "evaluation-proxy.dataDir" -}}
{{- (include "evaluation-proxy.configuration" . | fromJson).dataDir | default "/var/lib/evaluation-proxy" }}
{{- end }}

{{- /* What is written to the configuration file; projects only when no Secret of one's own has them. */}}
{{- define "evaluation-proxy.configFile" -}}
{{- $config := deepCopy (default dict .Values.evaluationProxy) }}
{{- if .Values.existingSecret.name }}
{{- $config = omit $config "projects" }}
{{- else if not (or $config.projects .Values.extraEnv .Values.extraEnvFrom) }}
{{- fail "evaluationProxy.projects is empty: give at least one project, or a Secret with them as existingSecret.name, or AMPLITUDE_API_KEY and the others by extraEnv" }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- /* What no schema can say: values that contradict each other. */}}
{{- define "evaluation-proxy.check" -}}
{{- $config := include "evaluation-proxy.configuration" . | fromJson }}
{{- $metrics := include "evaluation-proxy.metrics" . | fromJson }}
{{- $clients := include "evaluation-proxy.clientsPort" . | int }}
{{- $operators := include "evaluation-proxy.operatorsPort" . | int }}
{{- if or (not $clients) (not $operators) }}
{{- fail "evaluationProxy.configuration: a port of 0 is any free one, which no Service can lead to" }}
{{- end }}
{{- if eq $clients $operators }}
{{- fail (printf "evaluationProxy.configuration: port and metrics.port are both %d" $clients) }}
{{- end }}
{{- range $key, $host := dict "host" $config.host "metrics.host" $metrics.host }}
{{- if regexMatch "^(127\\.|localhost$|::1$)" ($host | default "" | toString) }}
{{- fail (printf "evaluationProxy.configuration.%s is %s, where neither Services nor probes reach the pod" $key $host) }}
{{- end }}
{{- end }}
{{- $drain := kindIs "invalid" $config.drainDeadlineMillis | ternary 10000 $config.drainDeadlineMillis | int }}
{{- $needed := add .Values.preStopSeconds (div (add $drain 999) 1000) 1 }}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $needed) }}
{{- fail (printf "terminationGracePeriodSeconds must be at least %d: preStopSeconds, then drainDeadlineMillis, then a second" $needed) }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor and podMonitor would count everything twice: enable one" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.operatorsService.enabled) }}
{{- fail "serviceMonitor needs operatorsService.enabled; podMonitor does not" }}
{{- end }}
{{- include "evaluation-proxy.checkAuth" . }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" }}
{{- end }}
{{- end }}

{{- define "evaluation-proxy.checkAuth" -}}
{{- $auth := .Values.operators.auth }}
{{- $metrics := include "evaluation-proxy.metrics" . | fromJson }}
{{- if ne (empty $auth.basicUserKey) (empty $auth.basicPasswordKey) }}
{{- fail "operators.auth: basicUserKey and basicPasswordKey go together" }}
{{- end }}
{{- $keys := or $auth.bearerTokenKey $auth.basicUserKey }}
{{- if and $auth.existingSecret (not $keys) }}
{{- fail "operators.auth: name a key of the Secret, bearerTokenKey or basicUserKey and basicPasswordKey" }}
{{- end }}
{{- if and $keys (not $auth.existingSecret) }}
{{- fail "operators.auth: keys of which Secret? Set existingSecret" }}
{{- end }}
{{- $own := or $metrics.bearerToken $metrics.bearerTokenFile $metrics.basicUser }}
{{- if and $own (not $auth.existingSecret) (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled) }}
{{- fail "the monitor could not log in: put the credential of configuration.metrics in a Secret and name it in operators.auth" }}
{{- end }}
{{- end }}

{{- /* How a monitor logs in: with the token if there is one. */}}
{{- define "evaluation-proxy.monitorAuth" -}}
{{- $auth := .Values.operators.auth }}
{{- if $auth.bearerTokenKey }}
authorization:
  type: Bearer
  credentials: {name: {{ $auth.existingSecret | quote }}, key: {{ $auth.bearerTokenKey | quote }}}
{{- else if $auth.basicUserKey }}
basicAuth:
  username: {name: {{ $auth.existingSecret | quote }}, key: {{ $auth.basicUserKey | quote }}}
  password: {name: {{ $auth.existingSecret | quote }}, key: {{ $auth.basicPasswordKey | quote }}}
{{- end }}
{{- end }}

{{- define "evaluation-proxy.headlessName" -}}
{{- printf "%s-headless" (include "evaluation-proxy.fullname" . | trunc 53 | trimSuffix "-") }}
{{- end }}

{{- define "evaluation-proxy.operatorsName" -}}
{{- printf "%s-operators" (include "evaluation-proxy.fullname" . | trunc 53 | trimSuffix "-") }}
{{- end }}
