{{/*
Relations between values. values.schema.json has checked their types before. The first that is wrong stops the rendering, with
its path, what is wrong, and what would be right.

  holdfast.validate  $  from templates/config.yaml, which is always rendered

The others get (dict "root" $ "at" PATH …): the path of the value they look at, for the message.
*/}}

{{- define "holdfast.validate" -}}
{{- include "holdfast.validateKeys" . }}
{{- include "holdfast.validateImage" . }}
{{- include "holdfast.validateAccounts" . }}
{{- include "holdfast.validatePod" (dict "at" "pod" "pod" .Values.pod) }}
{{- include "holdfast.validatePod" (dict "at" "workers.pod" "pod" .Values.workers.pod) }}
{{- include "holdfast.validateLabels" (dict "at" "job.labels" "labels" .Values.job.labels) }}
{{- range $name, $storage := .Values.storages }}
{{- include "holdfast.validateStorage" (dict "at" (print "storages." $name) "storage" $storage) }}
{{- end }}
{{- include "holdfast.validateClaims" . }}
{{- range $name, $plan := .Values.backups }}
{{- include "holdfast.validateBackup" (dict "root" $ "name" $name "plan" $plan) }}
{{- end }}
{{- range $name, $restore := .Values.restores }}
{{- include "holdfast.validateRestore" (dict "root" $ "name" $name "restore" $restore) }}
{{- end }}
{{- range $name, $copy := .Values.copies }}
{{- include "holdfast.validateCopy" (dict "root" $ "name" $name "copy" $copy) }}
{{- end }}
{{- include "holdfast.validateMetrics" . }}
{{- if include "holdfast.guardsPods" . }}{{ include "holdfast.validateAdmissionPolicy" . }}{{ end }}
{{- end }}

{{- define "holdfast.validateKeys" -}}
{{- range $map := list "storages" "backups" "restores" "copies" }}
{{- range $name, $_ := get $.Values $map }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" $name) }}
{{- fail (printf "%s.%s: a name has 1 to 63 of a-z, 0-9 and -" $map $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateImage" -}}
{{- $last := .Values.image.repository | splitList "/" | last }}
{{- if contains "@" $last }}
{{- fail (printf "image.repository: %q has a digest: put it into image.digest" .Values.image.repository) }}
{{- else if contains ":" $last }}
{{- fail (printf "image.repository: %q has a tag: put it into image.tag" .Values.image.repository) }}
{{- end }}
{{- end }}

{{- define "holdfast.validateAccounts" -}}
{{- $accounts := .Values.serviceAccounts }}
{{- range $kind := list "backup" "restore" "worker" }}
{{- $account := get $accounts $kind }}
{{- if not (or $account.create $account.name) }}
{{- fail (printf "serviceAccounts.%s.name: missing; name the account that is there, or set serviceAccounts.%s.create: true" $kind $kind) }}
{{- end }}
{{- with $account.name }}
{{- include "holdfast.validateName" (dict "at" (printf "serviceAccounts.%s.name" $kind) "name" . "what" "ServiceAccount") }}
{{- end }}
{{- end }}
{{- $worker := include "holdfast.serviceAccount" (dict "root" . "kind" "worker") }}
{{- range $kind := list "backup" "restore" }}
{{- if eq $worker (include "holdfast.serviceAccount" (dict "root" $ "kind" $kind)) }}
{{- fail (printf "serviceAccounts.worker.name: %q is the account of serviceAccounts.%s too; workers need one without roles" $worker $kind) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateStorage" -}}
{{- $kinds := omit .storage "pod" "encryption" | keys | sortAlpha }}
{{- if ne (len $kinds) 1 }}
{{- fail (printf "%s: name one kind: s3, filesystem or rclone (there are: %s)" .at (join ", " $kinds | default "none")) }}
{{- end }}
{{- include "holdfast.validatePod" (dict "at" (print .at ".pod") "pod" .storage.pod) }}
{{- include "holdfast.validateSecrets" (dict "at" .at "in" (omit .storage "pod")) }}
{{- with .storage.encryption }}{{ include "holdfast.validateRecipients" (dict "at" (print $.at ".encryption.recipients") "recipients" .recipients) }}{{ end }}
{{- with .storage.s3 }}
{{- $inFlight := mul (.partSizeMiB | default 8) (.partsInFlight | default 5) }}
{{- if gt $inFlight 128 }}
{{- fail (printf "%s.s3.partsInFlight: partSizeMiB × partsInFlight is %d, 128 at most; that much memory is taken" $.at $inFlight) }}
{{- end }}
{{- if and .kmsKeyId (not (hasPrefix "aws:kms" (.sse | default ""))) }}
{{- fail (printf "%s.s3.kmsKeyId: needs sse: aws:kms or aws:kms:dsse beside it" $.at) }}
{{- end }}
{{- end }}
{{- with .storage.filesystem }}
{{- if has ".." (splitList "/" .path) }}
{{- fail (printf "%s.filesystem.path: %q leads out of its folder; leave out .." $.at .path) }}
{{- end }}
{{- with .claim }}
{{- include "holdfast.validateName" (dict "at" (print $.at ".filesystem.claim") "name" . "what" "PersistentVolumeClaim") }}
{{- end }}
{{- if and .create (not .claim) }}
{{- fail (printf "%s.filesystem.claim: missing; it is the name of the claim that is to be created" $.at) }}
{{- end }}
{{- end }}
{{- with .storage.rclone }}
{{- if has ".." (splitList "/" (.path | default "")) }}
{{- fail (printf "%s.rclone.path: %q leads out of its folder; leave out .." $.at .path) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Two storages may lie in one claim; one of them makes it. */}}
{{- define "holdfast.validateClaims" -}}
{{- $made := dict }}
{{- range $name, $storage := .Values.storages }}
{{- with $storage.filesystem }}
{{- if .create }}
{{- with get $made .claim }}
{{- fail (printf "storages.%s.filesystem.create: storages.%s makes the claim %s already; leave it out here" $name . $storage.filesystem.claim) }}
{{- end }}
{{- $_ := set $made .claim $name }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateBackup" -}}
{{- $at := print "backups." .name }}
{{- $workload := dict "root" .root "kind" "backup" "name" .name }}
{{- include "holdfast.validateSchedule" (dict "at" $at "of" .plan) }}
{{- include "holdfast.validateStorageNames" (dict "root" .root "at" (print $at ".storages") "names" .plan.storages) }}
{{- include "holdfast.validatePlaces" (dict "root" .root "at" (print $at ".storages") "names" .plan.storages) }}
{{- if kindIs "string" (.plan.require | default "all") | not }}
{{- if gt (int .plan.require) (len .plan.storages) }}
{{- fail (printf "%s.require: %d, but the plan has %d storages; all is as many as there are" $at (int .plan.require) (len .plan.storages)) }}
{{- end }}
{{- end }}
{{- include "holdfast.validateEntries" (dict "at" (print $at ".sources") "entries" .plan.sources) }}
{{- include "holdfast.validateRetention" (dict "at" (print $at ".retention") "plan" .plan) }}
{{- include "holdfast.validateLimits" (dict "at" (print $at ".limits") "limits" .plan.limits) }}
{{- include "holdfast.validateRun" (dict "at" $at "of" .plan "workload" $workload) }}
{{- include "holdfast.validateTrust" (dict "at" $at "keys" .plan.trust) }}
{{- if and .plan.trust (not .plan.signing) (not .plan.suspend) }}
{{- fail (printf "%s.trust: needs %s.signing, for backups that nobody signs could not be restored; name its key, or remove trust" $at $at) }}
{{- end }}
{{- include "holdfast.validateEncryption" (dict "at" $at "workload" $workload "sources" .plan.sources) }}
{{- range $i, $source := .plan.sources }}
{{- with $source.rondb }}
{{- $below := dict "root" $.root "at" (printf "%s.sources[%d].rondb" $at $i) "workload" $workload }}
{{- include "holdfast.validateMysql" (set $below "mysql" .mysql) }}
{{- include "holdfast.validateFiles" (set $below "files" .files) }}
{{- end }}
{{- with $source.kubernetes }}
{{- include "holdfast.validateObjects" (dict "at" (printf "%s.sources[%d].kubernetes" $at $i) "kubernetes" . "source" true) }}
{{- end }}
{{- with $source.files }}
{{- include "holdfast.validateFolder" (dict "at" (printf "%s.sources[%d].files" $at $i) "workload" $workload "files" .) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateRestore" -}}
{{- $at := print "restores." .name }}
{{- $workload := dict "root" .root "kind" "restore" "name" .name }}
{{- include "holdfast.validateSchedule" (dict "at" $at "of" .restore) }}
{{- include "holdfast.validateStorageNames" (dict "root" .root "at" (print $at ".from.storages") "names" .restore.from.storages) }}
{{- include "holdfast.validateEntries" (dict "at" (print $at ".targets") "entries" .restore.targets) }}
{{- include "holdfast.validateLimits" (dict "at" (print $at ".limits") "limits" .restore.limits) }}
{{- include "holdfast.validateRun" (dict "at" $at "of" .restore "workload" $workload) }}
{{- include "holdfast.validateTrust" (dict "at" $at "keys" .restore.trust) }}
{{- if and (not .restore.trust) (dig .restore.from.plan "trust" "" .root.Values.backups) }}
{{- fail (printf "%s.trust: missing; backups.%s names whose signatures count, so name the same keys, or others" $at .restore.from.plan) }}
{{- end }}
{{- if and .restore.schedule (not .restore.overwrite) }}
{{- fail (printf "%s.overwrite: a restore with a schedule meets its own last one in the target; set %s.overwrite: true, or leave out the schedule" $at $at) }}
{{- end }}
{{- range $i, $target := .restore.targets }}
{{- with $target.rondb }}
{{- $below := dict "root" $.root "at" (printf "%s.targets[%d].rondb" $at $i) "workload" $workload }}
{{- include "holdfast.validateMysql" (set $below "mysql" .mysql) }}
{{- with .staging }}
{{- include "holdfast.validateMounted" (dict "workload" $workload "at" (print $below.at ".staging") "path" .) }}
{{- include "holdfast.validateRoom" (dict "workload" $workload "at" $at "path" .) }}
{{- end }}
{{- end }}
{{- with $target.kubernetes }}
{{- include "holdfast.validateObjects" (dict "at" (printf "%s.targets[%d].kubernetes" $at $i) "kubernetes" . "source" false) }}
{{- end }}
{{- with $target.files }}
{{- include "holdfast.validateFolder" (dict "at" (printf "%s.targets[%d].files" $at $i) "workload" $workload "files" .) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateCopy" -}}
{{- $at := print "copies." .name }}
{{- $own := dig .copy.plan "storages" list .root.Values.backups }}
{{- include "holdfast.validateSchedule" (dict "at" $at "of" .copy) }}
{{- include "holdfast.validateLimits" (dict "at" (print $at ".limits") "limits" .copy.limits) }}
{{- range $key := list "from" "to" }}
{{- $names := get $.copy $key | default list }}
{{- include "holdfast.validateStorageNames" (dict "root" $.root "at" (printf "%s.%s" $at $key) "names" $names) }}
{{- if not (or $names $own) }}
{{- fail (printf "%s.%s: missing; plan %s is of another installation, so name the storages" $at $key $.copy.plan) }}
{{- end }}
{{- end }}
{{- if and (ne .name .copy.plan) (hasKey .root.Values.backups .name) }}
{{- fail (printf "%s: backups.%s has the same name, but is another plan than %s; give the copy another name" $at .name .copy.plan) }}
{{- end }}
{{- $storages := concat (.copy.from | default $own) (.copy.to | default $own) | uniq }}
{{- if lt (len $storages) 2 }}
{{- fail (printf "%s: %s is the only storage, so nothing would have to be brought anywhere; name another one in %s.to" $at (first $storages) $at) }}
{{- end }}
{{- include "holdfast.validatePlaces" (dict "root" .root "at" $at "names" $storages) }}
{{- include "holdfast.validateRun" (dict "at" $at "of" .copy "workload" (dict "root" .root "kind" "copy" "name" .name)) }}
{{- end }}

{{/* What backups, restores and copies have in common: Secrets, folders, pod and job. */}}
{{- define "holdfast.validateRun" -}}
{{- if and (eq .workload.root.Values.coordination "none") (include "holdfast.usesWorkers" .workload) }}
{{- fail (printf "coordination: none keeps no two runs of %s apart, whose worker pods have the same names; use lease, or no worker pods (backups: files.access: exec; restores: staging)" .at) }}
{{- end }}
{{- include "holdfast.validateSecrets" (dict "at" .at "in" (omit .of "pod" "job")) }}
{{- include "holdfast.validatePod" (dict "at" (print .at ".pod") "pod" .of.pod) }}
{{- include "holdfast.validateLabels" (dict "at" (print .at ".job.labels") "labels" (.of.job | default dict).labels) }}
{{- include "holdfast.validateVolumes" (dict "at" .at "pod" (include "holdfast.podSettings" .workload | fromJson)) }}
{{- range $name, $storage := include "holdfast.storages" .workload | fromJson }}
{{- with $storage.filesystem }}
{{- if not .claim }}
{{- include "holdfast.validateMounted" (dict "workload" $.workload "at" (printf "storages.%s.filesystem.path" $name) "path" .path "or" "name its claim, ") }}
{{- end }}
{{- with .create }}
{{- if and (include "holdfast.usesWorkers" $.workload) (not (has "ReadWriteMany" (.accessModes | default list))) }}
{{- fail (printf "storages.%s.filesystem.create.accessModes: the worker pods of %s mount the claim on several machines; have ReadWriteMany in it" $name $.at) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The values go into a ConfigMap: a private key must not. */}}
{{- define "holdfast.validateTrust" -}}
{{- range $i, $key := .keys }}
{{- if or (contains "PRIVATE" $key) (not (regexMatch "MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=" (regexReplaceAll "\\s" $key ""))) }}
{{- fail (printf "%s.trust[%d]: no public key of Ed25519; `openssl pkey -in private.pem -pubout` shows it" $.at $i) }}
{{- end }}
{{- end }}
{{- end }}

{{/* One of the old kind takes the protection of the new away: age refuses both together. */}}
{{- define "holdfast.validateRecipients" -}}
{{- $safe := 0 }}
{{- range .recipients }}{{ if hasPrefix "age1pq1" . }}{{ $safe = add1 $safe }}{{ end }}{{ end }}
{{- if and $safe (lt (int $safe) (len .recipients)) }}
{{- fail (printf "%s: age1pq1… beside age1…: age refuses both together; name recipients of one kind" .at) }}
{{- end }}
{{- end }}

{{/* CockroachDB writes to a bucket by itself; other storages get a copy, which can be encrypted. */}}
{{- define "holdfast.validateEncryption" -}}
{{- $open := false }}
{{- range include "holdfast.storages" .workload | fromJson }}
{{- if not .encryption }}{{ $open = true }}{{ end }}
{{- end }}
{{- range $i, $source := .sources }}
{{- if and (hasKey $source "cockroachdb") (not $open) }}
{{- fail (printf "%s.storages: all have encryption, but CockroachDB writes sources[%d] by itself; name one without as well" $.at $i) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateStorageNames" -}}
{{- $known := keys .root.Values.storages | sortAlpha }}
{{- range .names }}
{{- if not (has . $known) }}
{{- fail (printf "%s: no storage named %q (there are: %s)" $.at . (join ", " $known | default "none")) }}
{{- end }}
{{- end }}
{{- include "holdfast.validateOnce" (dict "at" .at "names" .names) }}
{{- end }}

{{/*
Two names of one place would count as two copies where there is one. As isSamePlace in job/storages/index.ts.
Usage: include "holdfast.validatePlaces" (dict "root" . "at" "backups.nightly.storages" "names" (list "main" "offsite"))
*/}}
{{- define "holdfast.validatePlaces" -}}
{{- $places := list }}
{{- range .names }}
{{- $places = append $places (include "holdfast.placeOf" (dict "name" . "storage" (get $.root.Values.storages .)) | fromJson) }}
{{- end }}
{{- range $i, $one := $places }}
{{- range $other := slice $places 0 $i }}
{{- if eq $one.folder $other.folder }}
{{- fail (printf "%s: %s and %s are the same place" $.at $other.path $one.path) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* `path` in the values, and `folder`: the root that it is in, then its folder between slashes. */}}
{{- define "holdfast.placeOf" -}}
{{- $root := list }}
{{- $folder := "" }}
{{- $kind := "" }}
{{- with .storage.s3 }}
{{- $kind = "s3" }}
{{- $root = list (regexReplaceAll "/+$" (.endpoint | default "") "") .bucket .region .credentials }}
{{- $folder = .prefix }}
{{- end }}
{{- with .storage.filesystem }}
{{- $kind = "filesystem" }}
{{- $root = list (.claim | default "") }}
{{- $folder = .path }}
{{- end }}
{{- with .storage.rclone }}
{{- $kind = "rclone" }}
{{- $root = list .config.secret (.config.key | default "rclone.conf") .remote }}
{{- $folder = .path }}
{{- end }}
{{- $clean := clean (print "/" ($folder | default "")) }}
{{- dict "path" (printf "storages.%s.%s" .name $kind) "folder" (printf "%s:%s%s" $kind (toJson $root) (ternary "/" (print $clean "/") (eq $clean "/"))) | toJson }}
{{- end }}

{{/* Sources and targets: names are theirs alone, and each has one engine. */}}
{{- define "holdfast.validateEntries" -}}
{{- $names := list }}
{{- range $i, $entry := .entries }}
{{- $names = append $names $entry.name }}
{{- if ne (len (omit $entry "name" "hooks")) 1 }}
{{- fail (printf "%s[%d]: name one engine beside the name, such as rondb" $.at $i) }}
{{- end }}
{{- end }}
{{- include "holdfast.validateOnce" (dict "at" .at "names" $names) }}
{{- end }}

{{- define "holdfast.validateOnce" -}}
{{- range $i, $name := .names }}
{{- if has $name (slice $.names 0 $i) }}
{{- fail (printf "%s: %q is there twice; leave one out, or give it another name" $.at $name) }}
{{- end }}
{{- end }}
{{- end }}

{{/* As Kubernetes reads schedules: 7 is no Sunday there, and no time zone goes into the schedule. */}}
{{- define "holdfast.validateSchedule" -}}
{{- with .of.schedule }}
{{- $at := print $.at ".schedule" }}
{{- if contains "TZ=" . }}
{{- fail (printf "%s: %q has a time zone: put it into %s.timeZone" $at . $.at) }}
{{- else if hasPrefix "@" . }}
{{- if not (has . (list "@yearly" "@annually" "@monthly" "@weekly" "@daily" "@midnight" "@hourly")) }}
{{- fail (printf "%s: %q is none of @yearly, @monthly, @weekly, @daily and @hourly" $at .) }}
{{- end }}
{{- else }}
{{- $fields := regexSplit "\\s+" (trim .) -1 }}
{{- if ne (len $fields) 5 }}
{{- fail (printf "%s: %q has %d fields, not 5: minute, hour, day of month, month, day of week, as in \"15 2 * * *\"" $at . (len $fields)) }}
{{- end }}
{{- range $i, $kind := list
  (list "a minute, 0 to 59" "[0-5]?[0-9]")
  (list "an hour, 0 to 23" "([01]?[0-9]|2[0-3])")
  (list "a day of the month, 1 to 31" "(0?[1-9]|[12][0-9]|3[01])")
  (list "a month, 1 to 12" "(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)")
  (list "a day of the week, 0 (Sunday) to 6" "([0-6]|sun|mon|tue|wed|thu|fri|sat)") }}
{{- $value := last $kind }}
{{- $range := printf "(\\*|\\?|%s(-%s)?)(/[1-9][0-9]*)?" $value $value }}
{{- if not (regexMatch (printf "(?i)^%s(,%s)*$" $range $range) (index $fields $i)) }}
{{- fail (printf "%s: %q in %q is not %s" $at (index $fields $i) $.of.schedule (first $kind)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with .of.timeZone }}
{{- if or (eq (lower .) "local") (not (regexMatch "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$" .)) }}
{{- fail (printf "%s.timeZone: %q is no name of a time zone, such as Europe/Stockholm" $.at .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Every { secret: NAME } below a value, as holdfast.secrets finds them. */}}
{{- define "holdfast.validateSecrets" -}}
{{- if kindIs "slice" .in }}
{{- range $i, $value := .in }}{{ include "holdfast.validateSecrets" (dict "at" (printf "%s[%d]" $.at $i) "in" $value) }}{{ end }}
{{- else if kindIs "map" .in }}
{{- range $key, $value := .in }}
{{- $below := printf "%s.%s" $.at $key }}
{{- if and (eq $key "secret") (kindIs "string" $value) }}
{{- include "holdfast.validateName" (dict "at" $below "name" $value "what" "Secret") }}
{{- else }}
{{- include "holdfast.validateSecrets" (dict "at" $below "in" $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.validateName" -}}
{{- if or (gt (len .name) 253) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" .name)) }}
{{- fail (printf "%s: %q cannot be the name of a %s, which has a-z, 0-9, - and ." .at .name .what) }}
{{- end }}
{{- end }}
