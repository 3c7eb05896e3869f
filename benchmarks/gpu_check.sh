#!/bin/sh
# Prove the method on an NVIDIA GPU: one command for a fresh machine, 7 minutes at most.
#
#   sh benchmarks/gpu_check.sh [OUT [OPTION...]]     OUT is ./gpu_check unless given
#
# It writes OUT/gpu_check.json and OUT/gpu_check.md. What it runs in is, in this order: PYTHON_BIN,
# if set; .venv of this checkout; OUT/venv, which is made if need be. That takes the torch that
# python3 (or PYTHON) has, if it sees the GPU. pip's own variables say where packages come from:
# without a network PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER. Options go to gpu_check.py, and
# GPU_CHECK_SECONDS is another limit than 420. The GPU's settings stay as they are. The exit code is
# gpu_check.py's; 2 if nothing could be installed, 124 if the limit came first.
set -eu
started=$(date +%s)
limit=${GPU_CHECK_SECONDS:-420}
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-gpu_check}
[ $# -eq 0 ] || shift

say() { echo "gpu_check: $*" >&2; }
left() { echo $((limit - $(date +%s) + started)); }

# Run a command for so many seconds at most.
within() {
    if command -v timeout >/dev/null; then
        timeout "$@"
    else  # macOS
        shift
        "$@"
    fi
}

gpu=0
if [ -e /dev/nvidiactl ] || nvidia-smi -L >/dev/null 2>&1; then gpu=1; fi

# Say whether an interpreter can import these, and its torch sees the GPU if there is one.
can() {
    "$1" -c "import sys, $2; sys.exit($gpu and not torch.cuda.is_available())" 2>/dev/null
}
all=torch,mergekit.merge,slack_ties,pytest,hypothesis,babel

# Make OUT/venv, in no more time than leaves a minute for the checks.
install() {
    venv=$1 python=${PYTHON:-python3}
    patience=$(($(left) - 60))
    if ! can "$python" torch; then
        within "$patience" env PYTHON="$python" sh "$root/tools/setup.sh" "$venv"
        return
    fi
    say "taking the torch of $python"
    "$python" -m venv --system-site-packages "$venv"
    # If that Python is of a virtual environment itself, the option does not show its packages.
    can "$venv/bin/python" torch || "$python" -c '
import glob, sys, sysconfig
for folder in glob.glob(sys.argv[1] + "/lib/python*/site-packages"):
    with open(folder + "/borrowed.pth", "w") as file:
        print(sysconfig.get_path("purelib"), file=file)' "$venv"
    within "$patience" "$venv/bin/python" -m pip --disable-pip-version-check install -q \
        "$root" pytest hypothesis babel
}

if [ -n "${PYTHON_BIN:-}" ]; then
    bin=$PYTHON_BIN
    can "$bin" "$all" || say "$bin lacks one of $all, or its torch does not see the GPU"
elif can "$root/.venv/bin/python" "$all"; then
    bin=$root/.venv/bin/python
else
    bin=$out/venv/bin/python
    if ! can "$bin" "$all"; then
        mkdir -p "$out"
        say "installing into $out/venv"
        install "$out/venv" || { say "could not be installed in time, or at all"; exit 2; }
    fi
fi

say "$bin, $(left) s left"
# Its imports take some seconds. Rows are kept as they come: nothing is lost if a check should hang.
within "$(left)" "$bin" "$root/benchmarks/gpu_check.py" "$out" --seconds "$(($(left) - 15))" "$@"
