#!/usr/bin/env bash
# Check a machine with a GPU and no network: install what it lacks from WHEELS, a folder of wheels, and run
# benchmarks.gpu_check with the options that follow.
#
#     benchmarks/gpu_check.sh WHEELS --data PREPARED --output-dir OUT
#
# The machine has CPython 3.12, torch with CUDA, and what torch's usual companions bring. Wheels are those of
# nerfstudio 1.1.5 and of its dependencies that are missing, and numpy 1.26.
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=$1
shift
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
pip() { python3 -m pip --quiet --disable-pip-version-check "$@"; }
pip install --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$wheels"/*.whl
pip install --no-index --no-deps --no-compile --no-cache-dir --no-build-isolation --upgrade --target "$site" .
# The package is the installed one, whose parts lie in one place; of this folder only the benchmarks are wanted.
ln -s "$PWD/benchmarks" "$site/benchmarks"
export PYTHONPATH=$site PATH=$site/bin:$PATH PYTHONSAFEPATH=1
python3 -m benchmarks.gpu_check "$@"
