#!/bin/sh
set -eu

target="${1:?usage: backup.sh FOLDER}"
stamp="$(date +%Y%m%d)"
for folder in notes photos; do
    if [ -d "$folder" ]; then
        tar -czf "$target/$folder-$stamp.tar.gz" "$folder"
    fi
done
echo "kept in $target"
