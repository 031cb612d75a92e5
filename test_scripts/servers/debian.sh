#!/usr/bin/env bash
# Programs of Debian's packages, unpacked into the cache and installed nowhere.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast

# A package of a release with its libraries, but for the C library. apt gets a state of its own: the machine's stays as it is.
fetch_package() { # FOLDER RELEASE PACKAGE
  local mirror staging options
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" { print $2 }' | sed -n 1p)
  [[ -n $mirror ]] || return
  mkdir -p "$cache"
  staging=$(mktemp -d "$cache/$3.XXXXXX")
  mkdir -p "$staging"/apt/{lists,archives}/partial
  touch "$staging/apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $2 main" >"$staging/apt/sources.list"
  options=(-qq -o "Dir::Etc::SourceList=$staging/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$staging/apt/lists" -o "Dir::State::status=$staging/apt/status" -o "Dir::Cache=$staging/apt"
    -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  # somebody else may have been faster
  apt-get "${options[@]}" update && unpack_package "$staging" "$3" &&
    { mv -T "$staging/unpacked" "$1" 2>/dev/null || [[ -d $1/usr ]]; }
  rm -rf "$staging"
}

unpack_package() { # FOLDER PACKAGE
  local libraries each
  mapfile -t libraries < <(apt-cache "${options[@]}" depends "$2" | awk '$1 == "Depends:" && $2 ~ /^lib/ && $2 != "libc6" { print $2 }')
  (cd "$1" && apt-get "${options[@]}" download "$2" "${libraries[@]}") || return
  for each in "$1"/*.deb; do dpkg-deb -x "$each" "$1/unpacked"; done
}
