#!/usr/bin/env bash
# Installs what Troupe needs and is missing: Debian (or Ubuntu) packages, and libtorch from the PyPI wheel. Idempotent: a
# second run does nothing. Nothing is installed that is there already: set TORCH_ROOT to a folder with lib/libtorch_cpu.so
# and include/ATen to use your own libtorch 2.11. Without root it lists what is missing and the command that gets it.
#
#   ./launch/setup.sh            what the program and its tests need
#   ./launch/setup.sh --check    install nothing, only list what is missing
#   ./launch/setup.sh --slurm    and the Slurm that the tests of slurm/ start on this machine
#   ./launch/setup.sh --cuda     and what libtorch needs beside it on a GPU (cuBLAS, cuDNN, …: 2 GB). nvcc 13, NCCL and the driver are
#                                yours to have
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
  libseccomp-dev:seccomp.h bubblewrap:bwrap openssl:openssl libcld2-dev:cld2/public/compact_lang_det.h libcpp-httplib-dev:httplib.h
)
helpful=(ninja-build:ninja ccache:ccache)  # a faster build; nobody is asked for them
only_check=0
for_gpu=0
for option in "$@"; do
  case "$option" in
    --check) only_check=1 ;;
    --cuda) for_gpu=1 ;;
    --slurm) needed+=(slurm-wlm:slurmctld slurm-wlm-basic-plugins:slurmctld munge:munged) ;;
    *) echo "setup: unknown option $option: known are --check, --slurm and --cuda" >&2; exit 2 ;;
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
need_cuda=0  # only beside a libtorch of ours: another one has its own
if [ $for_gpu = 1 ] && { [ $need_torch = 1 ] || [ "$root" = "$torch_home/torch" ]; } && [ ! -f "$torch_home/nvidia/.complete" ]; then
  need_cuda=1
  [ -f "$torch_home/torch/lib/libtorch_cuda.so" ] || need_torch=1
fi
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

if [ ${#missing[@]} -eq 0 ] && [ $need_torch = 0 ] && [ $need_cuda = 0 ]; then
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

mkdir -p "$cache"
# download FOLDER REQUIREMENTS: wheels by pip, which checks their hashes.
download() {
  local platforms=()
  for minor in 5 12 17 18 24 25 26 27 28; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
  for name in manylinux1 manylinux2010 manylinux2014; do platforms+=(--platform "${name}_x86_64"); done
  rm -rf "$1"
  mkdir -p "$1"
  python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi none "${platforms[@]}" -d "$1" -r "$2"
}

if [ $need_torch = 1 ]; then
  echo "setup: downloading libtorch $torch_version (530 MB) into $torch_home"
  wheels="$cache/wheels"
  # The wheel of any CPython will do: only its lib/ and include/ are used. pip checks the hashes. libtorch_cpu.so links the
  # CUDA runtime and CUPTI, on machines without a GPU too.
  cat >"$cache/libtorch.txt" <<'REQUIREMENTS'
torch==2.11.0 --hash=sha256:7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
REQUIREMENTS
  download "$wheels" "$cache/libtorch.txt"
  rm -rf "$torch_home.tmp"
  mkdir -p "$torch_home.tmp"
  with_cuda=$for_gpu
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

if [ $need_cuda = 1 ]; then
  echo "setup: downloading the CUDA libraries of libtorch (2 GB) into $torch_home/nvidia"
  wheels="$cache/wheels"
  cat >"$cache/libtorch-cuda.txt" <<'REQUIREMENTS'
nvidia-cublas==13.1.0.3 --hash=sha256:ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
nvidia-cuda-nvrtc==13.0.88 --hash=sha256:ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
nvidia-cudnn-cu13==9.19.0.56 --hash=sha256:d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf
nvidia-cufft==12.0.0.61 --hash=sha256:6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3
nvidia-cufile==1.15.1.6 --hash=sha256:08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44
nvidia-curand==10.4.0.35 --hash=sha256:1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc
nvidia-cusolver==12.0.4.66 --hash=sha256:0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112
nvidia-cusparse==12.6.3.3 --hash=sha256:2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b
nvidia-cusparselt-cu13==0.8.0 --hash=sha256:25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd
nvidia-nccl-cu13==2.28.9 --hash=sha256:e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42
nvidia-nvjitlink==13.0.88 --hash=sha256:13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b
nvidia-nvshmem-cu13==3.4.5 --hash=sha256:290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80
nvidia-nvtx==13.0.85 --hash=sha256:4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4
REQUIREMENTS
  download "$wheels" "$cache/libtorch-cuda.txt"
  for wheel in "$wheels"/*.whl; do python3 -m zipfile -e "$wheel" "$torch_home"; done
  touch "$torch_home/nvidia/.complete"
  rm -rf "$wheels"
fi
echo "setup: done"
