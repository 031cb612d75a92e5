#!/usr/bin/env bash
# What demo and bench have in common when they start servers of this machine. Each server has a folder of its own in $work.
# shellcheck disable=SC2154 # who sources this sets work

# On Kubernetes these are Secrets; here, a folder for each.
write_secret() { # NAME KEY=VALUE...
  local folder=$work/secrets/$1 pair
  shift
  mkdir -p "$folder"
  for pair in "$@"; do (umask 077 && printf '%s' "${pair#*=}" >"$folder/${pair%%=*}"); done
}

# An entry of the list of sources or targets.
as_item() { sed 's/^/        /;1s/^        /      - /'; }

end_process() { # PIDFILE
  local pid
  if [[ ! -s $1 ]]; then return; fi
  pid=$(<"$1")
  kill -KILL "$pid" 2>/dev/null || true
  until ! kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

# Asked for, and to be taken at once: nobody else is given it meanwhile.
free_port() {
  node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })'
}
