{{/*
The rules of the admission policies. POLICY is (dict "root" $ "name" "…" "labels" "…"): its name and labels, made ready.

  holdfast.podsPolicy  POLICY with "account"  which pods an ACCOUNT (templates/_guard.tpl) may make
  holdfast.jobsPolicy  POLICY                 what the accounts may change of Jobs
*/}}

{{- define "holdfast.podsPolicy" -}}
{{- $worker := include "holdfast.serviceAccount" (dict "root" .root "kind" "worker") }}
{{- $may := include "holdfast.workersMay" . | fromJson -}}
# Whoever may create pods may read every Secret and mount every claim of the namespace. This leaves the account the worker
# pods of its plans with what the values give them. docs/security.md tells what remains.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name | quote }}
  labels:
    {{- .labels | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [pods]
  matchConditions:
    - name: account
      expression: request.userInfo.username == {{ printf "system:serviceaccount:%s:%s" .root.Release.Namespace .account.name | toJson }}
  variables:
    # What worker pods may have.
    - name: mayNames
      expression: >-
        {{ toJson $may.names }}
    - name: mayLabels
      expression: >-
        {{ toJson $may.labels }}
    - name: mayAnyLabels
      expression: >-
        {{ toJson .root.Values.admissionPolicy.labels }}
    - name: maySecrets
      expression: >-
        {{ toJson $may.secrets }}
    - name: mayConfigMaps
      expression: >-
        {{ toJson $may.configMaps }}
    - name: mayClaims
      expression: >-
        {{ toJson $may.claims }}
    - name: dataClaims
      expression: >-
        {{ toJson $may.dataClaims }}
    - name: dataClaimPrefixes
      expression: >-
        {{ toJson $may.dataClaimPrefixes }}
    - name: dataFolders
      expression: >-
        {{ toJson $may.dataFolders }}
    - name: folderClaims
      expression: >-
        {{ toJson $may.folderClaims }}
    - name: writtenClaims
      expression: >-
        {{ toJson $may.writtenClaims }}
    - name: mayAudiences
      expression: >-
        {{ toJson .root.Values.admissionPolicy.tokenAudiences }}
    # What this pod has.
    - name: labels
      expression: object.metadata.?labels.orValue({})
    - name: worker
      expression: object.spec.containers[0]
    - name: security
      expression: variables.worker.?securityContext.orValue({})
    - name: env
      expression: variables.worker.?env.orValue([])
    - name: mounts
      expression: variables.worker.?volumeMounts.orValue([])
    - name: volumes
      expression: object.spec.?volumes.orValue([])
    - name: dataVolumes
      expression: >-
        variables.volumes.filter(v, has(v.persistentVolumeClaim)
        && !(v.persistentVolumeClaim.claimName in variables.mayClaims)
        && !(v.persistentVolumeClaim.claimName in variables.folderClaims)
        && (v.persistentVolumeClaim.claimName in variables.dataClaims
        || variables.dataClaimPrefixes.exists(p, v.persistentVolumeClaim.claimName.startsWith(p)))).map(v, v.name)
    # What is wrong with it.
    - name: wrongLabels
      expression: >-
        variables.labels.filter(key, !(key in variables.mayAnyLabels)
        && !(key in variables.mayLabels && variables.labels[key] in variables.mayLabels[key]))
    - name: wrongKinds
      expression: >-
        variables.volumes.filter(v, !has(v.emptyDir) && !has(v.ephemeral) && !has(v.secret) && !has(v.configMap)
        && !has(v.persistentVolumeClaim) && !has(v.projected)).map(v, v.name)
    - name: wrongSecrets
      expression: >-
        variables.volumes.filter(v, has(v.secret)).map(v, v.secret.secretName)
        .filter(name, !(name in variables.maySecrets))
    - name: wrongConfigMaps
      expression: >-
        variables.volumes.filter(v, has(v.configMap)).map(v, v.configMap.name)
        .filter(name, !(name in variables.mayConfigMaps))
    - name: wrongTokens
      expression: >-
        variables.volumes.filter(v, has(v.projected) && !v.projected.?sources.orValue([]).all(s,
        has(s.serviceAccountToken) && s.serviceAccountToken.?audience.orValue('') in variables.mayAudiences))
        .map(v, v.name)
    - name: wrongClaims
      expression: >-
        variables.volumes.filter(v, has(v.persistentVolumeClaim) && !(v.name in variables.dataVolumes))
        .map(v, v.persistentVolumeClaim.claimName).filter(name, !(name in variables.mayClaims) && !(name in variables.folderClaims))
    - name: readVolumes
      expression: >-
        variables.volumes.filter(v, has(v.persistentVolumeClaim)
        && v.persistentVolumeClaim.claimName in variables.folderClaims
        && !(v.persistentVolumeClaim.claimName in variables.mayClaims)
        && !(v.persistentVolumeClaim.claimName in variables.writtenClaims)).map(v, v.name)
    - name: wrongWrites
      expression: >-
        variables.mounts.filter(m, m.name in variables.readVolumes && !m.?readOnly.orValue(false)).map(m, m.mountPath)
    - name: wrongFolders
      expression: >-
        variables.mounts.filter(m, m.name in variables.dataVolumes
        && !(m.?subPath.orValue('') in variables.dataFolders)).map(m, m.mountPath)
    # A volume made anew must not come with somebody's data, nor be one that is there.
    - name: wrongScratch
      expression: >-
        variables.volumes.filter(v, has(v.ephemeral)).filter(v,
        has(v.ephemeral.volumeClaimTemplate.spec.dataSource) || has(v.ephemeral.volumeClaimTemplate.spec.dataSourceRef)
        || has(v.ephemeral.volumeClaimTemplate.spec.volumeName) || has(v.ephemeral.volumeClaimTemplate.spec.selector)
        || v.ephemeral.volumeClaimTemplate.?metadata.?annotations.hasValue()
        || v.ephemeral.volumeClaimTemplate.spec.?storageClassName.orValue('') != {{ toJson (.root.Values.workers.scratch.storageClassName | default "") }})
        .map(v, v.name)
    - name: wrongEnv
      expression: >-
        variables.env.filter(e, has(e.valueFrom) && !has(e.valueFrom.fieldRef) && !has(e.valueFrom.resourceFieldRef)
        && !(e.valueFrom.?secretKeyRef.?name.orValue('') in variables.maySecrets)
        && !(e.valueFrom.?configMapKeyRef.?name.orValue('') in variables.mayConfigMaps)).map(e, e.name)
  validations:
    - expression: request.namespace == {{ toJson .root.Release.Namespace }}
      messageExpression: "'the account makes pods in namespace {{ .root.Release.Namespace }} only, not in ' + request.namespace"
    - expression: object.metadata.name in variables.mayNames
      messageExpression: "'no worker pod is named ' + object.metadata.name"
    - expression: size(variables.wrongLabels) == 0
      messageExpression: >-
        'worker pods have no such labels: ' + variables.wrongLabels.map(key, key + '=' + variables.labels[key]).join(', ')
        + ' (keys that the cluster adds go into admissionPolicy.labels)'
    # NetworkPolicies know the pods by these.
    - expression: >-
        ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component'].all(key, key in variables.labels)
      message: worker pods have the labels app.kubernetes.io/name, app.kubernetes.io/instance and app.kubernetes.io/component
    - expression: object.spec.serviceAccountName == {{ toJson $worker }}
      messageExpression: "'worker pods run as {{ $worker }}, not as ' + object.spec.serviceAccountName"
    - expression: object.spec.?automountServiceAccountToken.orValue(true) == false
      message: worker pods get no token (automountServiceAccountToken must be false)
    - expression: >-
        size(object.spec.containers) == 1 && !has(object.spec.initContainers) && !has(object.spec.ephemeralContainers)
      message: worker pods have one container and no others
    # Any tag of it: a run that goes on while the release is upgraded makes pods of the old one.
    - expression: variables.worker.image.matches({{ printf "^%s([:@][^/]*)?$" (regexQuoteMeta .root.Values.image.repository) | toJson }})
      messageExpression: "'worker pods have the image {{ .root.Values.image.repository }}, not ' + variables.worker.image"
    - expression: >-
        variables.worker.?command.orValue([]) == ['/app/holdfast', 'worker'] && !has(variables.worker.args)
      message: "worker pods run /app/holdfast worker, with no arguments"
    - expression: >-
        !has(variables.worker.lifecycle) && !has(variables.worker.livenessProbe) && !has(variables.worker.readinessProbe)
        && !has(variables.worker.startupProbe)
      message: worker pods have no hooks and no probes
    - expression: >-
        !object.spec.?hostNetwork.orValue(false) && !object.spec.?hostPID.orValue(false) && !object.spec.?hostIPC.orValue(false)
        && !has(variables.worker.ports)
      message: worker pods have nothing of the machine's network, processes or ports
    - expression: >-
        !has(object.spec.nodeName) && !has(object.spec.runtimeClassName) && !has(object.spec.resourceClaims)
        && !object.spec.?priorityClassName.orValue('').startsWith('system-')
      message: worker pods have no nodeName, runtimeClassName, resourceClaims or priority of the system
    - expression: >-
        !variables.security.?privileged.orValue(false) && variables.security.?allowPrivilegeEscalation.orValue(true) == false
        && size(variables.security.?capabilities.?add.orValue([])) == 0
        && variables.security.?procMount.orValue('Default') == 'Default'
        && variables.security.?seccompProfile.?type.orValue('') != 'Unconfined'
        && object.spec.?securityContext.?seccompProfile.?type.orValue('') != 'Unconfined'
      message: worker pods have no privileges (privileged, allowPrivilegeEscalation, capabilities, procMount, seccompProfile)
    - expression: size(variables.wrongKinds) == 0 && !has(variables.worker.volumeDevices)
      messageExpression: >-
        'volumes of worker pods are emptyDir, ephemeral, secret, configMap or persistentVolumeClaim; wrong: '
        + variables.wrongKinds.join(', ')
    - expression: size(variables.wrongSecrets) == 0
      messageExpression: "'worker pods do not mount the Secret ' + variables.wrongSecrets.join(', ')"
    - expression: size(variables.wrongConfigMaps) == 0
      messageExpression: "'worker pods do not mount the ConfigMap ' + variables.wrongConfigMaps.join(', ')"
    - expression: size(variables.wrongTokens) == 0
      messageExpression: >-
        'the volume ' + variables.wrongTokens.join(', ') + ' has more than tokens for ' + variables.mayAudiences.join(', ')
        + ' (admissionPolicy.tokenAudiences)'
    - expression: size(variables.wrongClaims) == 0
      messageExpression: >-
        'worker pods do not mount the claim ' + variables.wrongClaims.join(', ') + ' (others go into admissionPolicy.claims)'
    - expression: size(variables.wrongWrites) == 0
      messageExpression: "'files that are backed up are only read; mounted to be written: ' + variables.wrongWrites.join(', ')"
    - expression: size(variables.wrongFolders) == 0
      messageExpression: >-
        'of a data node only this folder is mounted: ' + variables.dataFolders.join(', ') + '; wrong: '
        + variables.wrongFolders.join(', ')
    - expression: size(variables.wrongScratch) == 0
      messageExpression: >-
        'the volume ' + variables.wrongScratch.join(', ') + ' is not a new, empty one of the storage class in workers.scratch'
    - expression: size(variables.wrongEnv) == 0 && !has(variables.worker.envFrom)
      messageExpression: >-
        'worker pods have no such environment variables from elsewhere: ' + variables.wrongEnv.join(', ')
{{- end }}

{{- define "holdfast.jobsPolicy" -}}
{{- $usernames := list }}
{{- range include "holdfast.guardedAccounts" .root | fromJsonArray }}
{{- $usernames = printf "system:serviceaccount:%s:%s" $.root.Release.Namespace .name | append $usernames }}
{{- end -}}
# The name of a run's own Job is not known beforehand, so the accounts may patch every Job. This leaves them the annotations
# of our own.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name | quote }}
  labels:
    {{- .labels | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [batch]
        apiVersions: [v1]
        operations: [UPDATE]
        resources: [jobs]
  matchConditions:
    - name: account
      expression: request.userInfo.username in {{ toJson $usernames }}
  variables:
    - name: labels
      expression: oldObject.metadata.?labels.orValue({})
    - name: before
      expression: oldObject.metadata.?annotations.orValue({})
    - name: after
      expression: object.metadata.?annotations.orValue({})
  validations:
    - expression: >-
        request.namespace == {{ toJson .root.Release.Namespace }}
        && variables.labels[?'app.kubernetes.io/name'].orValue('') == {{ include "holdfast.name" .root | toJson }}
        && variables.labels[?'app.kubernetes.io/instance'].orValue('') == {{ toJson .root.Release.Name }}
      messageExpression: "'the Job ' + object.metadata.name + ' is not one of release {{ .root.Release.Name }}'"
    - expression: object.spec == oldObject.spec
      message: the spec of a Job is not changed by its run
    - expression: >-
        object.metadata.?labels == oldObject.metadata.?labels
        && object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences
        && object.metadata.?finalizers == oldObject.metadata.?finalizers
      message: labels, owners and finalizers of a Job are not changed by its run
    - expression: >-
        variables.after.all(key, key.startsWith('holdfast/') || variables.before[?key] == variables.after[?key])
        && variables.before.all(key, key.startsWith('holdfast/') || variables.before[?key] == variables.after[?key])
      message: "annotations of a Job that its run changes begin with holdfast/"
{{- end }}
