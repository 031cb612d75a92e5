#!/usr/bin/env bash
# Files of a folder. Takes some seconds.
# shellcheck disable=SC2034,SC2154 # demo reads what is set here, and sets work

what="a folder of an application" where="a new, empty folder"

require_all() { :; }

start_server() { # before|after
  mkdir -p "$work/$1/data"
}

fill_before() {
  tell "Filling it: 2000 files, links, a sparse file of 1 GiB, names with spaces and umlauts, an empty folder."
  local i
  (
    cd "$work/before/data" || exit
    mkdir -p "päths/with space" empty
    for ((i = 0; i < 2000; i++)); do echo "content $i" >"päths/with space/$i.txt"; done
    truncate -s 1G hole
    ln -s "päths/with space/7.txt" seven
    ln hole "hard link"
    chmod 600 "päths/with space/1.txt"
  )
  contents before >"$work/before.txt"
}

how_it_is_backed_up="GNU tar reads the folder into one archive, a list with the hash of every file goes beside it, and the manifest is written last."

contents() { # before|after
  (
    cd "$work/$1/data" || exit
    find . ! -name .holdfast-restore ! -name . -printf '%p %y %m %s %n %l %T@\n' | sed -E '/ d /s/ [0-9]+ [0-9]+ +[0-9.]+$//' | LC_ALL=C sort
    find . -type f ! -name .holdfast-restore -exec sha256sum {} + | LC_ALL=C sort -k 2
  )
}

compare_after() {
  contents after >"$work/after.txt"
  cmp "$work/before.txt" "$work/after.txt"
  tell "$(wc -l <"$work/after.txt") lines of names, modes, sizes, links, times and hashes are the same;" \
    "the sparse file takes $(du -k "$work/after/data/hole" | cut -f 1) KB of disk."
}

server_values() { # before|after
  echo "name: data"
  echo "files: { access: local, path: $work/$1/data }"
}

end_server() { # before|after
  rm -rf "${work:?}/$1/data"
}
