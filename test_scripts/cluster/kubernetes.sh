#!/usr/bin/env bash
# What scenarios do with Kubernetes: namespaces, waiting, jobs, and what to show when one fails.
# shellcheck disable=SC2016,SC2154 # programs for node; run sets prefix

# Says what went wrong and ends the scenario.
fail() {
  echo "$*" >&2
  exit 1
}

equal() { # WANTED FOUND
  [[ $1 == "$2" ]] || fail "wanted: $1"$'\n'"found:  $2"
}

# What a command prints. One that failed has not answered: `equal '' "$(kubectl …)"` would be content with it.
prints() { # WANTED COMMAND...
  local found
  found=$("${@:2}") || fail "failed: ${*:2}"
  equal "$1" "$found"
}

contains() { # WANTED TEXT
  [[ -n $1 ]] || fail "there is nothing to look for in: $2"
  [[ $2 == *"$1"* ]] || fail "wanted: $1"$'\n'"in:     $2"
}

# The one place where a scenario waits.
wait_until() { # SECONDS WHAT COMMAND...
  local end=$((SECONDS + $1)) what=$2 seconds=$1
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then fail "waited $seconds s in vain until $what"; fi
    sleep 0.3
  done
}

# --- namespaces ---

# A namespace that takes restricted pods only; one that is there already stays.
make_namespace() { # NAMESPACE
  if kubectl get namespace "$1" >/dev/null 2>&1; then return; fi
  kubectl create namespace "$1" >/dev/null
  kubectl label namespace "$1" pod-security.kubernetes.io/enforce=restricted holdfast/scenarios="$prefix" >/dev/null
}

remove_namespaces() {
  kubectl delete namespaces -l "holdfast/scenarios=$prefix" --wait=false >/dev/null
  kubectl wait namespaces -l "holdfast/scenarios=$prefix" --for=delete --timeout=180s >/dev/null
}

# A manifest of this folder with ${NAME} replaced by VALUE.
manifest() { # FILE [NAME VALUE]...
  local text
  text=$(<"test_scripts/cluster/$1.yaml")
  shift
  while (($#)); do
    text=${text//"\${$1}"/$2}
    shift 2
  done
  echo "$text"
}

# --- jobs ---

# Waits for the end of a Job, whatever the end.
await_job() { # NAMESPACE JOB [SECONDS]
  wait_until "${3:-180}" "job $2 in $1 has ended" job_ended "$1" "$2"
}

job_ended() { job_status "$1" "$2" | grep -qE '^(Complete|Failed)$'; }

# Complete, Failed, or neither.
job_status() { # NAMESPACE JOB
  local conditions
  conditions=$(kubectl -n "$1" get job "$2" \
    -o jsonpath='{range .status.conditions[?(@.status=="True")]}{.type}{"\n"}{end}') || return
  grep -E '^(Complete|Failed)$' <<<"$conditions" || true
}

await_success() { # NAMESPACE JOB [SECONDS]
  await_job "$@"
  [[ $(job_status "$1" "$2") == Complete ]] || fail "job $2 in $1 failed with $(exit_code "$1" "$2"): $(summary "$1" "$2")"
}

# Of the last pod of the Job that has ended.
exit_code() { ended_container "$1" "$2" exitCode; }

# What the run said in its termination message.
summary() { ended_container "$1" "$2" message; }

ended_container() { # NAMESPACE JOB FIELD
  kubectl -n "$1" get pods -l "batch.kubernetes.io/job-name=$2" --sort-by=.metadata.creationTimestamp -o \
    jsonpath="{range .items[*]}{.status.containerStatuses[0].state.terminated.$3}{\"\n\"}{end}" | grep . | tail -n 1
}

# A field of the summary on standard input.
field() { # NAME
  node -e 'console.log(JSON.parse(require("node:fs").readFileSync(0, "utf8"))[process.argv[1]] ?? "")' "$1"
}

annotation() { # NAMESPACE JOB KEY
  kubectl -n "$1" get job "$2" -o "go-template={{ with .metadata.annotations }}{{ index . \"$3\" }}{{ end }}"
}

event_reasons() { # NAMESPACE JOB
  kubectl -n "$1" get events --field-selector "involvedObject.kind=Job,involvedObject.name=$2" \
    -o 'jsonpath={range .items[*]}{.reason}{"\n"}{end}'
}

running_pods() { # NAMESPACE RELEASE
  kubectl -n "$1" get pods -o name -l "app.kubernetes.io/instance=$2" --field-selector status.phase=Running
}

pod_of() { # NAMESPACE JOB
  kubectl -n "$1" get pods -l "batch.kubernetes.io/job-name=$2" --sort-by=.metadata.creationTimestamp -o name | tail -n 1
}

running_workers() { # NAMESPACE RELEASE
  kubectl -n "$1" get pods -o name -l "app.kubernetes.io/component=worker,app.kubernetes.io/instance=$2" \
    --field-selector status.phase=Running
}

# --- killing ---

# The process of the last pod of a Job. Not by deleting the pod: that is a SIGTERM first, and the run would clean up. The first
# process of a container cannot be killed from inside, unless the pod has shareProcessNamespace.
kill_run() { # NAMESPACE JOB
  kubectl -n "$1" exec "$(pod_of "$1" "$2")" -- node -e '
    const { readdirSync, readFileSync } = require("node:fs")
    for (const pid of readdirSync("/proc").filter(Number)) {
      if (/main\.ts\0(backup|restore)/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"))) process.kill(Number(pid), "SIGKILL")
    }'
}

# Begins a copy of a suspended Job, whose process can be killed.
begin_copy() { # NAMESPACE JOB NAME
  kubectl -n "$1" get job "$2" -o json | node -e '
    const { metadata, spec } = JSON.parse(require("node:fs").readFileSync(0, "utf8"))
    const own = (labels) => Object.fromEntries(Object.entries(labels).filter(([key]) => !/(job-name|controller-uid)$/.test(key)))
    const { selector, suspend, template, ...rest } = spec
    template.metadata = { ...template.metadata, labels: own(template.metadata.labels), creationTimestamp: undefined }
    template.spec.shareProcessNamespace = true
    const copy = { metadata: { name: process.argv[1], labels: own(metadata.labels) }, spec: { ...rest, template } }
    console.log(JSON.stringify({ apiVersion: "batch/v1", kind: "Job", ...copy }))' "$3" |
    kubectl -n "$1" create -f - >/dev/null
}

# The same of a CronJob: a run right now.
begin_copy_of_schedule() { # NAMESPACE CRONJOB NAME
  kubectl -n "$1" create job --from="cronjob/$2" "$3" --dry-run=client -o json | node -e '
    const job = JSON.parse(require("node:fs").readFileSync(0, "utf8"))
    job.spec.template.spec.shareProcessNamespace = true
    console.log(JSON.stringify(job))' | kubectl -n "$1" create -f - >/dev/null
}

# --- when a scenario fails ---

dump() { # NAMESPACE
  local pod
  echo "--- $1: jobs, pods, events"
  kubectl -n "$1" get cronjobs,jobs,pods,leases -o wide
  kubectl -n "$1" get events --sort-by=.lastTimestamp | tail -n 30
  for pod in $(kubectl -n "$1" get pods -o name -l app.kubernetes.io/name); do
    echo "--- $1: $pod"
    kubectl -n "$1" get "$pod" -o jsonpath='{.status}' | head -c 3000
    echo
    kubectl -n "$1" logs "$pod" --all-containers --tail=60
  done
} 2>&1
