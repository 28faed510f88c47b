#!/usr/bin/env bash
# Installs what Troupe needs and is missing: Debian (or Ubuntu) packages, and libtorch from the PyPI wheel. Idempotent: a
# second run does nothing. Nothing is installed that is there already: set TORCH_ROOT to a folder with lib/libtorch_cpu.so
# and include/ATen to use your own libtorch 2.11. Without root it lists what is missing and the command that gets it.
#
#   ./launch/setup.sh            what the program and its tests need
#   ./launch/setup.sh --check    install nothing, only list what is missing
set -euo pipefail

cache="${TROUPE_CACHE:-$HOME/.cache/troupe}"
torch_version=2.11.0
torch_home="$cache/libtorch-$torch_version"

packages=(
  g++ cmake ninja-build ccache pkg-config make git ca-certificates python3 python3-pip
  libopenmpi-dev openmpi-bin libzmq3-dev cppzmq-dev libcereal-dev libboost-program-options-dev
  nlohmann-json3-dev libspdlog-dev libfmt-dev libpcre2-dev libutf8proc-dev libzstd-dev libxxhash-dev
  libjs-chart.js doctest-dev
)

# What a package gives, for machines where it came from elsewhere (modules, Spack, conda).
have() {
  case "$1" in
    g++ | cmake | ccache | make | git | python3) command -v "$1" >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    pkg-config) command -v pkg-config >/dev/null ;;
    python3-pip) [ -d "$torch_home/torch/lib" ] || python3 -m pip --version >/dev/null 2>&1 ;;
    libopenmpi-dev) command -v mpicxx >/dev/null ;;
    openmpi-bin) command -v mpirun >/dev/null ;;
    *) dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed' ;;
  esac
}

missing=()
for package in "${packages[@]}"; do
  have "$package" || missing+=("$package")
done

torch_there() { [ -f "$1/lib/libtorch_cpu.so" ] && [ -f "$1/include/ATen/ATen.h" ]; }
need_torch=1
for root in "${TORCH_ROOT:-}" "$torch_home/torch" /opt/libtorch /usr/local/libtorch; do
  if [ -n "$root" ] && torch_there "$root"; then need_torch=0; break; fi
done

if [ ${#missing[@]} -eq 0 ] && [ $need_torch = 0 ]; then
  exit 0
fi

if [ "${1:-}" = --check ] || { [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" != 0 ]; }; then
  echo "Troupe lacks on this machine:"
  if [ ${#missing[@]} -gt 0 ]; then
    printf '  %s\n' "${missing[@]}"
    echo "  which this gets:  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
  if [ $need_torch = 1 ]; then
    echo "  libtorch $torch_version, which ./launch/setup.sh downloads into $torch_home (no root needed);"
    echo "  or set TORCH_ROOT to a folder with lib/libtorch_cpu.so and include/ATen"
  fi
  [ "${1:-}" = --check ] && exit 1
  echo "Run the command above, then this script again." >&2
  exit 1
fi

if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
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
