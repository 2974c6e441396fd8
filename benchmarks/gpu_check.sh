#!/usr/bin/env bash
# Check a machine with a GPU and no network: install what it lacks from WHEELS, a folder of wheels, and run
# benchmarks.gpu_check with the options that follow.
#
#     benchmarks/gpu_check.sh WHEELS --data PREPARED --output-dir OUT
#
# The machine has CPython 3.12, torch with CUDA, and what torch's usual companions bring. Wheels are those of
# nerfstudio 1.1.5 and of its dependencies that are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=$1
shift
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
# In one call: a second one would replace the folder of commands.
python3 -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir \
    --no-build-isolation --upgrade --target "$site" "$wheels"/*.whl .
# The installed package has all its parts in one place; of this folder only the benchmarks are needed.
ln -s "$PWD/benchmarks" "$site/benchmarks"
# ns-render looks for ffmpeg even where it writes pictures; the checks that write films need the real one.
command -v ffmpeg > /dev/null || { echo 'exit 1' > "$site/bin/ffmpeg" && chmod +x "$site/bin/ffmpeg"; }
export PYTHONPATH=$site PATH=$site/bin:$PATH PYTHONSAFEPATH=1
python3 -m benchmarks.gpu_check "$@"
