#!/usr/bin/env bash
# Configures and builds: ./launch/build.sh FOLDER [TARGET …] [-DOPTION=VALUE …]. Without a target, everything.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="$1"
shift
targets=()
options=()
for argument in "$@"; do
  case "$argument" in
    -D*) options+=("$argument") ;;
    *) targets+=("$argument") ;;
  esac
done
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
cmake -S . -B "$folder" "${generator[@]}" "${options[@]}" >"$folder.log" 2>&1 || { mkdir -p "$folder"; cat "$folder.log" >&2; exit 1; }
rm -f "$folder.log"
cmake --build "$folder" --parallel ${targets[@]:+--target "${targets[@]}"}
