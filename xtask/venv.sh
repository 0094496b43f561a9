#!/bin/sh
# Makes a virtual environment of Python: venv.sh REQUIREMENTS FOLDER. Does nothing if it is up to date.
set -eu
requirements=$1
folder=$2
if cmp -s "$requirements" "$folder/installed.txt"; then
    exit 0
fi
python3 -m venv --clear "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
# The package of wasmtime has its program without the right to be run.
find "$folder" -path '*/wasmtime_cli/wasmtime' -exec chmod +x {} +
# Last, so that an installation that broke off is made again.
cp "$requirements" "$folder/installed.txt"
