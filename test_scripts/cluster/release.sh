#!/usr/bin/env bash
# The chart in the scenarios: installing, changing and removing a release.
# shellcheck disable=SC2154 # run sets work and the images

# Values come on standard input and are kept for `upgrade`; the release is noted in a file, since the end of a pipe has a shell
# of its own.
install() { # NAMESPACE RELEASE [FLAG...]
  local values=$work/$1-$2.yaml
  cat >"$values"
  echo "$1 $2" >>"$work/releases"
  helm_ install "$2" chart --namespace "$1" --values "$values" "${@:3}" >/dev/null
}

# With the values of the install, and what the flags change.
upgrade() { # NAMESPACE RELEASE [FLAG...]
  helm_ upgrade "$2" chart --namespace "$1" --values "$work/$1-$2.yaml" "${@:3}" >/dev/null
}

helm_() {
  local action=$1
  shift
  helm "$action" "$@" --set "image.repository=${HOLDFAST_IMAGE%:*}" --set "image.tag=${image_tag:-${HOLDFAST_IMAGE##*:}}"
}

# The release and what it leaves on purpose.
remove() { # NAMESPACE RELEASE
  helm uninstall "$2" --namespace "$1" --ignore-not-found --wait >/dev/null 2>&1
  kubectl -n "$1" delete jobs,configmaps,pods -l "app.kubernetes.io/instance=$2" --ignore-not-found >/dev/null
  kubectl -n "$1" get leases -o name | grep "/$2-" | xargs -r kubectl -n "$1" delete >/dev/null
}

# A run right now, as the notes of the chart say it.
run_now() { # NAMESPACE CRONJOB JOB
  kubectl -n "$1" create job --from="cronjob/$2" "$3" >/dev/null
}

# --- values that several scenarios use ---

# A plan `nightly` of the database in NAMESPACE; its storage by way of the gate or not.
nightly() { # NAMESPACE [s3|gate] [volume|exec]
  cat <<YAML
storages: { main: $(storage "${2:-s3}") }
backups:
  nightly: { schedule: "15 2 * * *", storages: [main], sources: [$(source_of "$1" "${3:-volume}")] }
YAML
}

# A restore `once` of the newest backup of `nightly` into the database in NAMESPACE.
once() { # NAMESPACE [s3|gate]
  cat <<YAML
storages: { main: $(storage "${2:-s3}") }
restores:
  once: { from: { plan: nightly, storages: [main] }, targets: [$(target_of "$1")] }
YAML
}

# Names of the one-shot Jobs of a plan or restore, oldest first.
jobs_once() { # NAMESPACE RELEASE-KIND-NAME
  kubectl -n "$1" get jobs --sort-by=.metadata.creationTimestamp -o name | sed -nE "s|^job.batch/($2-[0-9a-f]{8})$|\1|p"
}
