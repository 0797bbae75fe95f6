#!/usr/bin/env bash
# Pack the program that holds a pod's namespaces as an image, for a node that reaches no registry.
#
# usage: scripts/pause-image.sh WORKDIR ARCHIVE
#
# Needs root, Go, and the Debian package buildah.
set -euo pipefail

work=$(realpath "$1")
archive=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../tests/tools/pause"
CGO_ENABLED=0 "${GO:-go}" build -buildvcs=false -trimpath -ldflags "-s -w" -o "$work/pause"
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay}
store=(--root "$work/store" --runroot "$work/run")
container=$(buildah "${store[@]}" from scratch)
trap 'buildah "${store[@]}" rm "$container" >/dev/null' EXIT
buildah "${store[@]}" add --quiet "$container" "$work/pause" /pause >/dev/null
buildah "${store[@]}" config --entrypoint '["/pause"]' "$container"
buildah "${store[@]}" commit --quiet "$container" localhost/pause:tests >/dev/null
rm -f "$archive"
buildah "${store[@]}" push --quiet localhost/pause:tests "docker-archive:$archive:localhost/pause:tests"
