#!/bin/sh
# Makes the virtual environment of this peer: setup.sh FOLDER. Does nothing if it is up to date.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
if cmp -s "$here/requirements.txt" "$folder/installed.txt"; then
    exit 0
fi
python3 -m venv --clear "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
# Last, so that an installation that broke off is made again.
cp "$here/requirements.txt" "$folder/installed.txt"
