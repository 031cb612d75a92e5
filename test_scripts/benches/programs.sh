#!/usr/bin/env bash
# The programs that all cases of bench use.
# shellcheck disable=SC2034,SC2154 # bench sets kit, and reads what is set here

# As job/io/process.ts starts Node, and ./holdfast.
as_job=(env MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=131072 node --max-semi-space-size=1)

find_programs() {
  rclone=$(test_scripts/rclone) || exit
  s5cmd=$(command -v s5cmd || from_kit s5cmd)
  versitygw=$(command -v versitygw || from_kit versitygw)
  [[ -n $versitygw ]] || die "no versitygw here: put one on PATH (https://github.com/versity/versitygw/releases)"
  export rclone
}

note_versions() {
  # a page that other cases were written into changes nothing of what is measured
  echo "holdfast $(git describe --always)$(git diff --quiet HEAD -- job chart holdfast package.json || echo -dirty)"
  echo "Node $(node -p process.versions.node)"
  "$rclone" version | sed -n 1p
  echo "versitygw $("$versitygw" --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | sed -n 1p)"
}

from_kit() { # PROGRAM
  if [[ -x $kit ]]; then echo "$("$kit" path "$1")/$1"; fi
}
