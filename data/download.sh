#!/usr/bin/env bash
# Fetches the data of HW4 and unpacks them: all of them, or nothing. `data/download.sh --help` says more.
set -euo pipefail

github=https://github.com
needed=7000000 # KiB: the files' 6.85 GB, and what 64,666 half-filled last blocks add
options=(--fail --location --globoff --connect-timeout 30 --speed-limit 1 --speed-time 60) # a minute of silence is enough
if [[ -t 2 ]]; then options+=(--progress-bar); else options+=(--silent); fi

usage() {
  cat <<'EOF'
usage: data/download.sh [TARGET]

Fetches the data set of NTU Machine Learning HW4 (600 speakers of VoxCeleb2, 56,666 labelled and 8,000 test utterances)
into the folder TARGET, by default Dataset beside this script. It takes 6.8 GB of disk, and nothing on top of that: the
archive is unpacked while it arrives. The course's releases are tried one after the other. SPEAKER_DATA_URL names another
source, a URL to which the suffixes of the archive's parts are appended (aa, ab, ...):

  SPEAKER_DATA_URL=https://example.org/Dataset.tar.gz.part data/download.sh

Licence: VoxCeleb2's metadata and what is derived from them are CC BY 4.0. Wherever data or plots of them are shown, cite
Chung, Nagrani & Zisserman, VoxCeleb2: Deep Speaker Recognition, Interspeech 2018.
EOF
}

die() {
  echo "$1" >&2
  exit "${2:-1}"
}

# Writes the parts to file descriptor 3. What goes wrong is noted in a file, because a pipe hands on no words.
send_parts() { # PREFIX [SUFFIX ...]; without suffixes aa, ab, ... until the server has no more
  local prefix=$1 known=$(($# - 1)) suffix code answer why
  shift
  ((known)) || set -- {a..z}{a..z}
  for suffix; do
    code=0
    answer=$(curl "${options[@]}" --output /dev/fd/3 --write-out '%{http_code}' "$prefix$suffix") || code=$?
    if [[ $known = 0 && $suffix != aa && $code = 22 && $answer = 404 ]]; then
      [[ ! -t 2 ]] || echo "There is no part $suffix: that was all." >&2 # curl's bar has shown it as an error
      return 0
    fi
    case $code in
      0) continue ;;
      5 | 6 | 7) why="cannot be reached" ;;
      22) why="cannot be had: the server answered $answer" ;;
      23) return 1 ;; # nobody reads any more: tar has given up, and says why
      *) why="did not arrive whole (curl's error $code)" ;;
    esac
    echo "$prefix$suffix $why" 2>/dev/null >"$partial/curl.log" # which is gone after a signal
    return 1
  done
}

# Unpacks one source. $unpacked is then the folder in it that holds the data set, or else $problem says what was wrong.
fetch() { # PREFIX [SUFFIX ...]
  echo "Fetching $1aa and the parts that follow it."
  rm -rf "$partial"
  mkdir -p "$partial/archive"
  # In the background, because bash heeds a signal while it waits, but not while a command in the foreground runs.
  send_parts "$@" 3>&1 | tar -xzf - -C "$partial/archive" --exclude='._*' --no-same-owner 2>"$partial/tar.log" &
  tar_id=$!
  if ! wait "$tar_id"; then # it fails, too, where curl failed: see pipefail
    tar_id=
    problem=$(cat "$partial/curl.log" 2>/dev/null) ||
      problem="$1* cannot be unpacked ($(grep -m 1 -v 'Ignoring unknown' "$partial/tar.log"))" # macOS's attributes
    return 1
  fi
  tar_id=
  for unpacked in "$partial/archive" "$partial/archive"/*/; do
    if [[ -f $unpacked/metadata.json && -f $unpacked/mapping.json ]]; then return 0; fi
  done
  problem="$1* holds no metadata.json with a mapping.json beside it"
  return 1
}

fetch_mirror() {
  fetch "$@" || { echo "$problem." >&2 && return 1; }
}

clean_up() {
  [[ -z $tar_id ]] || kill "$tar_id" || true # curl ends when nobody reads any more
  rm -rf "$partial" 2>/dev/null || { sleep 1 && rm -rf "$partial"; } # tar may have been at its last file
}

case ${1:-} in
  -h | --help) usage && exit ;;
  -*) die "$1 is no option: see data/download.sh --help." 2 ;;
esac
(($# <= 1)) || die "There can be one TARGET only: see data/download.sh --help." 2
for tool in curl tar gzip; do
  command -v "$tool" >/dev/null || die "$tool is not installed: install it, then run this again."
done

target=${1:-$(dirname "${BASH_SOURCE[0]}")/Dataset}
if [[ -e $target/metadata.json ]]; then
  echo "$target holds a data set already: nothing was fetched."
  exit
fi
parent=$(dirname "$target")
partial=$parent/.$(basename "$target").$$.partial
tar_id=
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
mkdir -p "$partial" 2>/dev/null || die "$parent cannot be written to: name another TARGET."
if [[ -z ${SPEAKER_DATA_URL:-} ]]; then
  free=$(df -Pk "$parent" | awk 'NR == 2 {print $4}')
  echo "HW4 needs 7 GB of disk, and $parent has $((free / 1000000)) GB free."
  ((free >= needed)) || die "There is too little room in $parent: free some, or name a TARGET on another disk."
fi
# An empty folder gives way, before the long download rather than after it. Anything else is not ours to touch.
if [[ -e $target || -L $target ]]; then
  rmdir "$target" 2>/dev/null || die "$target is there already and is no empty folder: name another TARGET."
fi

if [[ -n ${SPEAKER_DATA_URL:-} ]]; then
  fetch "$SPEAKER_DATA_URL" || die "$problem: correct SPEAKER_DATA_URL, or unset it to try the course's releases."
else
  fetch_mirror "$github/googly-mingto/ML2023HW4/releases/download/data/Dataset.tar.gz.part" aa ab ac ad ||
    fetch_mirror "$github/MachineLearningHW/ML_HW4_Dataset/releases/latest/download/Dataset.tar.gz.part" aa ab ac ad ||
    fetch_mirror "$github/hsushuai/ml2023spring-hw/releases/download/dataset/ml2023spring-hw4.tar.gz.part-" ||
    die "No release could be fetched: try again later, or see data/README.md for other ways."
fi
[[ ! -e $target ]] || die "$target has appeared meanwhile: it was left alone, and what was fetched is gone."
mv "$unpacked" "$target"
echo "$target is complete. VoxCeleb2 by Chung, Nagrani & Zisserman, CC BY 4.0."
