#!/usr/bin/env bash
# Installs what Troupe needs and is missing: Debian (or Ubuntu) packages, and libtorch from the PyPI wheel. Idempotent: a
# second run does nothing. Nothing is installed that is there already: set TORCH_ROOT to a folder with lib/libtorch_cpu.so
# and include/ATen to use your own libtorch 2.11. Without root it lists what is missing and the command that gets it.
#
#   ./launch/setup.sh            what the program and its tests need
#   ./launch/setup.sh --check    install nothing, only list what is missing
#   ./launch/setup.sh --slurm    and the Slurm that the tests of slurm/ start on this machine
set -euo pipefail

cache="${TROUPE_CACHE:-$HOME/.cache/troupe}"
torch_version=2.11.0
torch_home="$cache/libtorch-$torch_version"

# PACKAGE:WITNESS. A package is there where it is installed, or where its witness is (from modules, Spack, conda): a program on the
# PATH, or a file under an include folder of CPATH, CMAKE_PREFIX_PATH, CONDA_PREFIX or, without Debian's packages, the system.
needed=(
  g++:g++ cmake:cmake make:make pkg-config:pkg-config git:git python3:python3 libopenmpi-dev:mpicxx openmpi-bin:mpirun
  libzmq3-dev:zmq.h cppzmq-dev:zmq.hpp libcereal-dev:cereal/cereal.hpp libboost-program-options-dev:boost/program_options.hpp
  nlohmann-json3-dev:nlohmann/json.hpp libspdlog-dev:spdlog/spdlog.h libfmt-dev:fmt/core.h libpcre2-dev:pcre2.h
  libutf8proc-dev:utf8proc.h libzstd-dev:zstd.h libxxhash-dev:xxhash.h doctest-dev:doctest/doctest.h libjs-chart.js:chart.min.js
  libseccomp-dev:seccomp.h bubblewrap:bwrap libcld2-dev:cld2/public/compact_lang_det.h
)
helpful=(ninja-build:ninja ccache:ccache)  # a faster build; nobody is asked for them
only_check=0
for option in "$@"; do
  case "$option" in
    --check) only_check=1 ;;
    --slurm) needed+=(slurm-wlm:slurmctld slurm-wlm-basic-plugins:slurmctld munge:munged) ;;
    *) echo "setup: unknown option $option: known are --check and --slurm" >&2; exit 2 ;;
  esac
done

torch_there() { [ -f "$1/lib/libtorch_cpu.so" ] && [ -f "$1/include/ATen/ATen.h" ]; }
if [ -n "${TORCH_ROOT:-}" ] && ! torch_there "$TORCH_ROOT"; then
  echo "setup: TORCH_ROOT=$TORCH_ROOT has no lib/libtorch_cpu.so and include/ATen/ATen.h" >&2
  exit 2
fi
need_torch=1
for root in "${TORCH_ROOT:-}" "$torch_home/torch" /opt/libtorch /usr/local/libtorch; do
  if [ -n "$root" ] && torch_there "$root"; then need_torch=0; break; fi
done
IFS=: read -ra prefixes <<<"${CMAKE_PREFIX_PATH:-}:${CONDA_PREFIX:-}"
IFS=: read -ra folders <<<"/usr/local/include:${CPATH:-}"
command -v dpkg-query >/dev/null || folders+=(/usr/include)
for prefix in "${prefixes[@]}"; do [ -z "$prefix" ] || folders+=("$prefix/include"); done

have() {
  local package="${1%%:*}" witness="${1#*:}"
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' && return 0
  case "$witness" in
    chart.min.js) [ -f "${CHART_JS:-}" ] ;;
    *.h | *.hpp) found "$witness" ;;
    *) PATH="$PATH:/usr/sbin" command -v "$witness" >/dev/null ;;
  esac
}
found() {
  for folder in "${folders[@]}"; do [ -z "$folder" ] || [ ! -f "$folder/$1" ] || return 0; done
  return 1
}

missing=()
for package in "${needed[@]}"; do
  have "$package" || missing+=("$package")
done
if [ $need_torch = 1 ]; then
  python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip:pip)
  [ -d /etc/ssl/certs ] || missing+=(ca-certificates:/etc/ssl/certs)
fi

if [ ${#missing[@]} -eq 0 ] && [ $need_torch = 0 ]; then
  exit 0
fi

if [ $only_check = 1 ] || { [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" != 0 ]; }; then
  echo "Troupe lacks on this machine:"
  for package in "${missing[@]}"; do printf '  %-32s (%s)\n' "${package%%:*}" "${package#*:}"; done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "  which this gets:  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]%%:*}"
    echo "  Without root: from modules, Spack or conda, with CMAKE_PREFIX_PATH naming the folders that have include/ and lib/"
    echo "  (CHART_JS a chart.min.js of Chart.js 3); this script looks for the files in brackets."
  fi
  if [ $need_torch = 1 ]; then
    echo "  libtorch $torch_version, which ./launch/setup.sh downloads into $torch_home (no root needed);"
    echo "  or set TORCH_ROOT to a folder with lib/libtorch_cpu.so and include/ATen"
  fi
  [ $only_check = 1 ] && exit 1
  echo "Then run this script again." >&2
  exit 1
fi

if [ ${#missing[@]} -gt 0 ]; then
  for package in "${helpful[@]}"; do have "$package" || missing+=("$package"); done
  echo "setup: installing ${missing[*]%%:*}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]%%:*}" >/dev/null
fi

if [ $need_torch = 1 ]; then
  echo "setup: downloading libtorch $torch_version (530 MB) into $torch_home"
  wheels="$cache/wheels"
  mkdir -p "$wheels"
  # The wheel of any CPython will do: only its lib/ and include/ are used. pip checks the hashes. libtorch_cpu.so links the
  # CUDA runtime and CUPTI, on machines without a GPU too.
  cat >"$cache/libtorch.txt" <<'REQUIREMENTS'
torch==2.11.0 --hash=sha256:7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
REQUIREMENTS
  platforms=()
  for minor in 17 24 25 26 27 28; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
  python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi none "${platforms[@]}" --platform manylinux2014_x86_64 \
    -d "$wheels" -r "$cache/libtorch.txt"
  rm -rf "$torch_home.tmp"
  mkdir -p "$torch_home.tmp"
  with_cuda=0
  if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then with_cuda=1; fi
  python3 - "$torch_home.tmp" "$with_cuda" "$wheels"/*.whl <<'PYTHON'
import sys, zipfile
target, with_cuda, wheels = sys.argv[1], sys.argv[2] == "1", sys.argv[3:]
cuda_only = ("libtorch_cuda", "libc10_cuda", "libtorch_nvshmem", "libcaffe2_nvrtc")
for wheel in wheels:
    with zipfile.ZipFile(wheel) as z:
        for name in z.namelist():
            wanted = name.startswith(("torch/lib/", "torch/include/")) or "/lib/libcud" in name or "/lib/libcupti" in name
            wanted = wanted or name.endswith(("LICENSE", "NOTICE", "License.txt"))
            if "libtorch_python" in name or (not with_cuda and any(c in name for c in cuda_only)):
                wanted = False
            if wanted:
                z.extract(name, target)
PYTHON
  rm -rf "$torch_home"
  mv "$torch_home.tmp" "$torch_home"
  rm -rf "$wheels"
fi
echo "setup: done"
