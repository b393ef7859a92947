#!/usr/bin/env bash
# Fetches the data of HW4 and unpacks them: all of them, or nothing. `data/download.sh --help` says more.
set -euo pipefail
export LC_ALL=C # for sorting, and for the words of other tools that are looked for below

github=https://github.com
here=$(dirname "${BASH_SOURCE[0]}")
usage=2 network=3 archive=4 disk=5 busy=6 in_the_way=7 # exit codes
options=(--fail --location --globoff --connect-timeout 30 --speed-limit 1 --speed-time 60) # a minute of silence is enough
if [[ -t 2 ]]; then options+=(--progress-bar); else options+=(--silent); fi

help() {
  cat <<'EOF'
usage: data/download.sh [--mirror NAME|URL] [--keep-parts] [--deep] [--repair] [TARGET]
       data/download.sh --describe FOLDER

Fetches the data set of NTU Machine Learning HW4 (600 speakers of VoxCeleb2, 56,666 labelled and 8,000 test utterances)
into the folder TARGET, by default Dataset beside this script. TARGET is there when it is complete and verified, not before.
It takes 7.1 GB of disk, and about as much again for the parts of the archive while they are fetched. They lie in TARGET.parts:
after a failure, give the same command again, and it goes on where it was.

  --mirror NAME|URL  fetch from 2023, 2022 or copy only (otherwise one after the other, until one works), or from a URL to
                     which aa, ab, ... are appended until there is no such part. SPEAKER_DATA_URL does the same.
  --keep-parts       leave TARGET.parts there, for a --repair that need not fetch anything
  --deep             verify each feature's content too, not only how many they are and how long in all
  --repair           fetch what is not in TARGET.parts yet, and put back the files of TARGET that are missing or differ.
                     Other files in TARGET stay. With --deep it finds damage that left a file its length.
  --describe FOLDER  print what is to be expected of the data set in FOLDER, to be named in SPEAKER_DATA_EXPECT

Your own data set, as an archive in one part:

  data/download.sh --describe data/mine >mine.expected
  tar -cz -C data mine >mine.tar.gz.aa      # to be put on a server, beside mine.expected
  SPEAKER_DATA_EXPECT=mine.expected SPEAKER_DATA_URL=https://example.org/mine.tar.gz. data/download.sh

Exit codes: 0 TARGET is complete; 2 wrong usage, or an unusable SPEAKER_DATA_EXPECT; 3 the network failed; 4 an archive is
damaged, unsafe or not the data set expected; 5 the disk is full, too small or not writable; 6 another run is at it; 7 TARGET
is in the way, or not whole; 130 and 143 after a signal; 1 anything else. Where every mirror failed, it is 3 if the network
failed for one of them, otherwise 4.

Licence: VoxCeleb2's metadata and what is derived from them are CC BY 4.0. Wherever data or plots of them are shown, cite
Chung, Nagrani & Zisserman, VoxCeleb2: Deep Speaker Recognition, Interspeech 2018.
EOF
}

die() { # SENTENCE [CODE]
  echo "$1" >&2
  exit "${2:-1}"
}

# Waits for what was just put into the background. Bash heeds a signal while it waits, but not while a command runs.
attend() {
  local code=0
  child=$!
  wait "$child" || code=$?
  child=
  return "$code"
}

size() { if [[ -e $1 ]]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
hash() { "${sha256[@]}" | cut -c 1-64; }
gigabytes() { awk -v kib="$1" 'BEGIN {printf "%.1f GB", kib * 1024 / 1e9}'; }

# --- what a data set is, and what is expected of it

without_blanks() { tr -d ' \t\r\n' <"$1"; }
string='"([^"\\]|\\.)*"'
speakers() { without_blanks "$1/metadata.json" | tr '[' '\n' | sed -n -E "s/^(.*[,{])?($string):\$/\\2/p" | sort; }
feature_sums() { (cd "$1" && find . -name 'uttr-*.pt' | cut -c 3- | sort | tr '\n' '\0' | xargs -0 "${sha256[@]}"); }

# What the expectation file says of KEY, told from a folder. A name for the digest of the features is "features" and --deep.
fact() { # KEY FOLDER
  case $1 in
    speakers) speakers "$2" | wc -l | tr -d ' ' ;;
    features) # the trailing slash and -L follow links, because a reader may keep the data on another disk
      { ls -lnL "$2/" 2>/dev/null || true; } | awk '/^-.* uttr-[^ ]*\.pt$/ {n++; bytes += $5} END {printf "%.0f %.0f\n", n, bytes}'
      ;;
    digest) feature_sums "$2" | hash ;;
    *) echo "$(size "$2/$1") $(hash <"$2/$1")" ;;
  esac
}

expected() { sed -n "s/^$1 //p" "$expectation"; } # KEY
known() { if grep -q '^testdata\.json ' "$expectation"; then echo testdata.json; fi; }

read_expectation() {
  local sum='[0-9a-f]{64}' advice="make such a file with data/download.sh --describe, or unset SPEAKER_DATA_EXPECT" wrong keys
  [[ -f $expectation && -r $expectation ]] || die "$expectation cannot be read: $advice." "$usage"
  wrong=$(grep -v -n -E "^(#.*|speakers [0-9]+|(metadata|testdata)\.json [0-9]+ $sum|features [0-9]+ [0-9]+ $sum)?\$" \
    "$expectation" | sed -n '1s/:.*//p') || true
  [[ -z $wrong ]] || die "$expectation says nothing that is understood in line $wrong: $advice." "$usage"
  keys=$(sed -n -E 's/^([a-z.]+) .*/\1/p' "$expectation" | grep -v '^testdata' | sort | tr '\n' ' ')
  [[ $keys = "features metadata.json speakers " ]] ||
    die "$expectation must tell speakers, metadata.json and features once each: $advice." "$usage"
}

describe() { # FOLDER
  local name
  for name in metadata.json mapping.json; do
    [[ -f $1/$name ]] || die "$1 holds no $name: name the folder of a data set." "$usage"
  done
  echo "speakers $(fact speakers "$1")"
  for name in metadata.json testdata.json; do [[ ! -f $1/$name ]] || echo "$name $(fact "$name" "$1")"; done
  echo "features $(fact features "$1") $(fact digest "$1")"
}

# "ID NAME" of each speaker, by what speaker2id says and by what id2speaker says
ids_of_speakers() { without_blanks "$1" | grep -oE "$string:[0-9]+" | sed -E "s/^($string):([0-9]+)\$/\\3 \\1/" | sort; }
speakers_of_ids() { without_blanks "$1" | grep -oE "\"[0-9]+\":$string" | sed -E "s/^\"([0-9]+)\":/\\1 /" | sort; }

mapping_fits() { # FOLDER
  local ids
  ids=$(ids_of_speakers "$1/mapping.json") || return 1
  [[ $ids = "$(speakers_of_ids "$1/mapping.json")" ]] || return 1
  sort -n <<<"$ids" | awk '$1 != NR - 1 {exit 1}' || return 1
  [[ $(cut -d ' ' -f 2- <<<"$ids" | sort) = "$(speakers "$1")" ]]
}

# What is wrong with a data set, for the middle of a sentence; nothing if nothing is.
problem_of() { # FOLDER
  local name found said
  for name in metadata.json $(known); do
    if [[ ! -f $1/$name ]]; then echo "$name is missing" && return; fi
    found=$(fact "$name" "$1") said=$(expected "$name")
    if [[ $found != "$said" ]]; then
      echo "$name has ${found% *} bytes and SHA-256 ${found##* }, not ${said% *} and ${said##* }" && return
    fi
  done
  if [[ ! -f $1/mapping.json ]]; then echo "mapping.json is missing" && return; fi
  found=$(fact speakers "$1") said=$(expected speakers)
  if [[ $found != "$said" ]] || ! mapping_fits "$1"; then
    echo "mapping.json does not number the $said speakers of metadata.json" && return
  fi
  found=$(fact features "$1") said=$(expected features)
  if [[ $found != "${said% *}" ]]; then
    echo "its ${found% *} features have ${found#* } bytes, not ${said%% *} with $(cut -d ' ' -f 2 <<<"$said")" && return
  fi
  if [[ -n $deep && $(fact digest "$1") != "${said##* }" ]]; then echo "the content of a feature is not what it should be"; fi
}

# --- fetching

prefix_of() { # MIRROR
  case $1 in
    2023) echo "$github/googly-mingto/ML2023HW4/releases/download/data/Dataset.tar.gz.part" ;;
    2022) echo "$github/MachineLearningHW/ML_HW4_Dataset/releases/latest/download/Dataset.tar.gz.part" ;;
    copy) echo "$github/hsushuai/ml2023spring-hw/releases/download/dataset/ml2023spring-hw4.tar.gz.part-" ;;
    *) echo "$1" ;;
  esac
}

# Fetches one part, from where it was left. Fails where it is not to be had; then $problem says why and $answer what the server said.
fetch_part() { # URL FILE
  local tries=0 pause=1 code most
  most=$(size "$2.partial")
  while [[ ! -f $2 ]]; do
    code=0
    curl "${options[@]}" --continue-at - --output "$2.partial" --write-out '%{http_code}' "$1" >"$scratch/answer" &
    attend || code=$?
    answer=$(cat "$scratch/answer")
    case $code:$answer in
      0:*) mv "$2.partial" "$2" && return ;; # also after 416, where all of it was here already
      22:408 | 22:429 | 22:5??) problem="$1 cannot be had: the server answered $answer" ;;
      22:*) problem="$1 cannot be had: the server answered $answer" && return 1 ;;
      23:*) die "The disk is full, $2 could not be written: free some space there, then run this again." "$disk" ;;
      33:*)
        rm -f "$2.partial"
        echo "$1 begins anew, because the server cannot go on in its middle." >&2
        ;;
      5:* | 6:* | 7:*) problem="$1 cannot be reached" ;;
      *) problem="$1 did not arrive whole (curl's error $code)" ;;
    esac
    if (($(size "$2.partial") > most)); then tries=0 pause=1 most=$(size "$2.partial"); fi
    ((++tries < 5)) || return 1
    sleep "$pause" &
    attend
    pause=$((2 * pause))
  done
}

fetch_parts() { # MIRROR FOLDER
  local prefix suffix suffixes
  [[ ! -e $2/complete ]] || return 0
  prefix=$(prefix_of "$1")
  case $1 in 2023 | 2022) suffixes="aa ab ac ad" ;; *) suffixes=$(echo {a..z}{a..z}) ;; esac
  echo "Fetching ${prefix}aa and the parts that follow it."
  for suffix in $suffixes; do
    fetch_part "$prefix$suffix" "$2/$suffix" && continue
    [[ $suffix != aa && $answer = 404 && $suffixes = *zz ]] || return 1
    break # that was all
  done
  touch "$2/complete"
}

# --- unpacking

parts() { cat "$1"/[a-z][a-z]; }

told_by_tar() { grep -m 1 -v -e 'Ignoring unknown' -e 'Removing leading' "$scratch/tar.log" || echo "tar does not say why"; } # macOS's attributes

# Reads the whole archive before anything is unpacked. Fails where it is damaged or would write elsewhere; $problem says why.
check_archive() { # FOLDER
  local bad
  parts "$1" | tar -tvzf - --exclude='._*' >"$scratch/members" 2>"$scratch/tar.log" &
  attend || { problem="its archive is damaged ($(told_by_tar))" && return 1; }
  bad=$({ grep -v -E '^[-d]' "$scratch/members" || grep -E '[ /]\.\.(/|$)| /' "$scratch/members"; } | sed -n 1p) || true
  [[ -z $bad ]] || { problem="its archive would write outside its folder, or a link ($bad)" && return 1; }
}

# Fails where the archive is not the data set; $problem says why. Otherwise $found is the folder that is.
unpack() { # FOLDER
  rm -rf "$work/unpacked"
  mkdir -p "$work/unpacked"
  parts "$1" | tar -xzf - -C "$work/unpacked" --exclude='._*' --no-same-owner 2>"$scratch/tar.log" &
  attend || {
    if grep -q 'No space left' "$scratch/tar.log"; then
      die "The disk is full, the data set could not be unpacked in $work: free some space there, then run this again." "$disk"
    fi
    problem="its archive cannot be unpacked ($(told_by_tar))" && return 1
  }
  [[ -z $(find "$work/unpacked" ! -type f ! -type d) ]] || { problem="its archive holds more than files" && return 1; }
  for found in "$work/unpacked" "$work/unpacked"/*/; do
    found=${found%/}
    [[ -f $found/metadata.json && -f $found/mapping.json ]] || continue
    problem=$(problem_of "$found")
    [[ -z $problem ]]
    return
  done
  problem="its archive holds no metadata.json with a mapping.json beside it"
  return 1
}

# Fetches from one mirror. Fails where that does not give the data set; $problem says why, $code of which kind it is.
try_mirror() { # MIRROR
  local folder
  folder=$work/$(prefix_of "$1" | hash | cut -c 1-12)
  mkdir -p "$folder"
  code=$network
  fetch_parts "$1" "$folder" || return 1
  code=$archive
  if check_archive "$folder" && unpack "$folder"; then return 0; fi
  rm -rf "$folder" "$work/unpacked"
  problem="What $(prefix_of "$1")* gave is of no use and was deleted: $problem"
  return 1
}

# Puts back what is missing in the target or differs from $found.
repair_target() {
  local path count=0 left
  for path in "$found"/*; do
    [[ -f $path ]] || continue # packed/ in somebody's own archive: the kit makes its own
    if ! cmp -s "$path" "$target/${path##*/}"; then
      touch "$path" # as of now, not as in the archive: the kit packs again what is newer than its pack
      mv -f "$path" "$target/${path##*/}"
      count=$((count + 1))
    fi
  done
  left=$(problem_of "$target")
  [[ -z $left ]] || die "$target is not whole even with every file of the archive ($left): name another TARGET." "$in_the_way"
  echo "$target is complete again: $count files were put back."
}

# --- the command

check_room() {
  local all here_already free needed
  # in KiB, each feature with the block that it may only begin
  all=$(awk '/^features/ {all += $3 / 1024 + 4 * $2} /^[a-z]*\.json/ {all += $2 / 1024} END {printf "%.0f", all}' "$expectation")
  here_already=$(du -sk "$work" | cut -f 1)
  needed=$((2 * all > here_already ? 2 * all - here_already : 0))
  free=$(df -Pk "$work" | awk 'NR == 2 {print $4}')
  echo "This needs $(gigabytes "$needed") of disk, half of it only while it is fetched; $parent has $(gigabytes "$free") free."
  ((free >= needed)) || die "There is too little room in $parent: free some, or name a TARGET on another disk." "$disk"
}

clean_up() {
  [[ -z $child ]] || kill "$child" 2>/dev/null || true
  [[ -n $mine ]] || return 0
  rm -rf "$work/unpacked" "$scratch"
  rmdir "$work"/*/ 2>/dev/null || true # a mirror that gave nothing
  if [[ -n $done && -z $keep ]]; then rm -rf "$work"; fi
  if [[ -z $(find "$work" -type f ! -name lock 2>/dev/null) ]]; then rm -rf "$work"; fi
}

take_lock() {
  mkdir -p "$work" 2>/dev/null || die "$parent cannot be written to: name another TARGET." "$disk"
  if command -v flock >/dev/null; then
    exec 9>"$work/lock" # curl and tar inherit it: one that outlives this script still writes here
    flock -n 9 || die "Another run is fetching into $target: wait for it, or name another TARGET." "$busy"
  else
    echo "There is no flock here: see that this does not run twice at once."
  fi
  mine=yes
  scratch=$(mktemp -d) # elsewhere, because what tools say of a full disk finds no room on it
}

deep='' keep='' repair='' mirrors='' target='' problem='' child='' mine='' done='' scratch=''
expectation=${SPEAKER_DATA_EXPECT:-$here/hw4.expected}
if [[ -n ${SPEAKER_DATA_EXPECT:-} ]]; then credit=''; else credit=' VoxCeleb2 by Chung, Nagrani & Zisserman, CC BY 4.0.'; fi
if command -v sha256sum >/dev/null; then sha256=(sha256sum); else sha256=(shasum -a 256); fi
for tool in curl tar gzip awk "${sha256[0]}"; do
  command -v "$tool" >/dev/null || die "$tool is not installed: install it, then run this again."
done
while (($#)); do
  case $1 in
    -h | --help) help && exit ;;
    --deep) deep=yes ;;
    --keep-parts) keep=yes ;;
    --repair) repair=yes ;;
    --mirror | --describe)
      [[ -n ${2:-} ]] || die "$1 needs a value: see data/download.sh --help." "$usage"
      if [[ $1 = --describe ]]; then describe "$2" && exit; fi
      mirrors=$2
      [[ $mirrors =~ ^(2023|2022|copy|[a-z]+://[^[:space:]]+)$ ]] ||
        die "--mirror is $mirrors: choose 2023, 2022, copy, or a URL." "$usage"
      shift
      ;;
    -*) die "$1 is no option: see data/download.sh --help." "$usage" ;;
    *)
      [[ -z $target && -n $1 ]] || die "There can be one TARGET only: see data/download.sh --help." "$usage"
      target=$1
      ;;
  esac
  shift
done
read_expectation
mirrors=${mirrors:-${SPEAKER_DATA_URL:-2023 2022 copy}}
target=${target:-$here/Dataset}
target=${target%/}
parent=$(dirname "$target") work=$target.parts

# What there is to do. An empty folder gives way, anything else is the user's.
if [[ -e $target/metadata.json || -e $target/mapping.json || (-n $repair && -d $target) ]]; then
  problem=$(problem_of "$target")
  if [[ -z $problem ]]; then echo "$target is complete${deep:+, to the last feature}: nothing was fetched." && exit; fi
  [[ -n $repair ]] || die "$target is not the data set expected, $problem: add --repair, or name another TARGET." "$in_the_way"
elif [[ -e $target || -L $target ]]; then
  rmdir "$target" 2>/dev/null || die "$target is there already and is no empty folder: name another TARGET." "$in_the_way"
fi
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
take_lock
if [[ -z $repair && -e $target ]]; then
  die "$target has appeared meanwhile: run this again to have it checked." "$in_the_way"
fi
check_room

worst=$archive
for mirror in $mirrors; do
  if try_mirror "$mirror"; then
    done=yes
    if [[ -n $repair && -e $target ]]; then repair_target && exit; fi
    [[ ! -e $target ]] || die "$target has appeared meanwhile: it was left alone, and what was fetched is gone." "$in_the_way"
    mv "$found" "$target"
    echo "$target is complete.$credit"
    exit
  fi
  if ((code == network)); then worst=$network; fi
  [[ $mirror = "$mirrors" ]] || echo "$problem." >&2
done
kept=$(find "$work" -type f ! -name lock | sed -n 1p)
[[ -z $kept ]] || kept=" What has arrived is kept in $work, and the same command goes on from there."
case $mirrors in
  "2023 2022 copy") die "No release could be fetched: try again later, or see data/README.md for other ways.$kept" "$worst" ;;
  2023 | 2022 | copy) die "$problem: leave --mirror out to try the others.$kept" "$worst" ;;
  *) die "$problem: correct SPEAKER_DATA_URL or --mirror, or leave it out to try the course's releases.$kept" "$worst" ;;
esac
