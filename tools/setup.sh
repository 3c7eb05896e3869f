#!/bin/sh
# Make the development environment: everything that demo, tests and lint need, in one
# virtual environment, in the versions of constraints.txt.
#
#   sh tools/setup.sh [FOLDER]        FOLDER is .venv unless given
#
# PYTHON names another interpreter than python3. Where there is no NVIDIA GPU the CPU build
# of torch is installed: the other one brings several GB of CUDA libraries.
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${PYTHON:-python3}

say() { echo "setup: $*" >&2; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    say "$("$python" --version) is too old, expected Python 3.10 or later"
    say "next: PYTHON=/path/to/newer/python make demo"
    exit 1
}

# Debian keeps venv and ensurepip in a package of their own.
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "python3-venv is missing: installing it with apt-get"
        apt-get update -q && apt-get install -q -y python3-venv
    else
        say "this Python cannot make virtual environments"
        say "next: sudo apt install python3-venv   (then the same command again)"
        exit 1
    fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

say "installing into $venv (the first time this takes some minutes)"
pip install -q 'pip>=25.1'  # knows dependency groups

torch=$(sed -n 's/^torch==//p' constraints.txt)
if "$venv/bin/python" -c "import torch; assert torch.__version__.split('+')[0] == '$torch'" 2>/dev/null; then
    say "torch $torch is there"
elif [ "$(uname -s)" = Linux ] && [ ! -e /dev/nvidiactl ]; then
    # Where pip is set up to look; else from PyTorch's own index; else the large build.
    pip install -q -c constraints.txt "torch==$torch+cpu" 2>/dev/null ||
        pip install -q -c constraints.txt "torch==$torch+cpu" \
            --extra-index-url https://download.pytorch.org/whl/cpu ||
        pip install -c constraints.txt "torch==$torch"
else
    pip install -c constraints.txt "torch==$torch"
fi

pip install -q -c constraints.txt --group dev -e .
