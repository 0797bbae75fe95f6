#!/usr/bin/env bash
# Build one stage of the Dockerfile and try the image, on a machine that reaches no container
# registry and runs no container engine: the base image is made by debootstrap from Debian 12's own
# Python 3.11, and buildah does the rest without a daemon.
#
# usage: scripts/build-image.sh STAGE WORKDIR [ARCHIVE]
#
#   STAGE     train, serve-cpu, serve-gpu or rollout
#   WORKDIR   throw-away directory for the base and the image store, kept between calls; delete it
#             when done (3 GB for serve-cpu, 16 for each of the others)
#   ARCHIVE   also write the image to this file, as `docker load` and `ctr images import` read it
#
# environment (all optional):
#   IMAGE            name of the image; default localhost/sightline-STAGE:dev
#   DEBIAN_MIRROR    where debootstrap fetches from; default its own
#   CA_BUNDLE        certificates that pip trusts during the build; default SSL_CERT_FILE
#   PIP_CONF         a pip.conf for the build; default one that names the CA bundle, if there is any
#   STORAGE_DRIVER   of the image store; default overlay, vfs where that does not work
#
# Needs root, and the Debian packages buildah and debootstrap.
set -euo pipefail

usage() {
  sed -n 's/^# \(usage: .*\)/\1/p' "$0" >&2
  exit 2
}

(($# == 2 || $# == 3)) || usage
stage=$1
mkdir -p "$2"
work=$(realpath "$2")
archive=${3:+$(realpath "$3")}
case $stage in
  train) package=train ;;
  serve-cpu | serve-gpu) package=predictor ;;
  rollout) package=k8s.rollout ;;
  *) usage ;;
esac
for tool in buildah debootstrap; do
  command -v "$tool" >/dev/null || {
    echo "$tool is missing: apt-get install buildah debootstrap" >&2
    exit 1
  }
done
((EUID == 0)) || {
  echo "this needs root: debootstrap and the mounts of the image do" >&2
  exit 1
}

source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
image=${IMAGE:-localhost/sightline-$stage:dev}
base=localhost/sightline-base:bookworm
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} BUILDAH_ISOLATION=chroot
store=(--root "$work/store" --runroot "$work/run")

container=
remove_container() {
  [[ -z $container ]] || buildah "${store[@]}" rm "$container" >/dev/null
  container=
}
trap remove_container EXIT

make_base() {
  local rootfs=$work/rootfs
  rm -rf "$rootfs"
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    bookworm "$rootfs" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" || {
    tail -n 5 "$work/debootstrap.log" >&2
    exit 1
  }
  rm -rf "$rootfs"/var/cache/apt/* "$rootfs"/var/lib/apt/lists/* "$rootfs"/usr/share/{doc,man,locale}/*
  container=$(buildah "${store[@]}" from scratch)
  buildah "${store[@]}" add --quiet "$container" "$rootfs" / >/dev/null
  buildah "${store[@]}" commit --quiet "$container" "$base" >/dev/null
  remove_container
  rm -rf "$rootfs"
}

build() {
  local secrets=() ca_bundle=${CA_BUNDLE:-${SSL_CERT_FILE:-}} pip_conf=${PIP_CONF:-}
  if [[ -n $ca_bundle ]]; then
    secrets+=(--secret "id=ca-bundle,src=$ca_bundle")
    if [[ -z $pip_conf ]]; then
      pip_conf=$work/pip.conf
      printf '[global]\ncert = /run/secrets/ca-bundle\n' >"$pip_conf"
    fi
  fi
  [[ -z $pip_conf ]] || secrets+=(--secret "id=pip-conf,src=$pip_conf")
  # Only the docker format keeps the health check.
  buildah "${store[@]}" build --format docker --pull-never --network host --layers \
    --target "$stage" --build-arg "PYTHON_IMAGE=$base" --tag "$image" \
    "${secrets[@]}" --file "$source/Dockerfile" "$source"
}

# Read by the image's own Python. Arguments: stage, package.
checks='
import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

stage, package = sys.argv[1:]


def present(name):
    return importlib.util.find_spec(name) is not None


site = Path(__import__(package).__file__).parents[1]
ours = {
    "train": {"model", "train"},
    "serve-cpu": {"model", "predictor"},
    "serve-gpu": {"model", "predictor"},
    "rollout": {"k8s"},
}[stage]
torch = {"train", "serve-gpu"}
runtime = {"train": {"onnxruntime"}, "serve-cpu": {"onnxruntime"}, "serve-gpu": {"onnxruntime-gpu"}}
distributions = {found.name.lower() for found in importlib.metadata.distributions()}
runtimes = {name for name in distributions if name.startswith("onnxruntime")}
assert (os.getuid(), os.getgid()) == (10001, 10001), (os.getuid(), os.getgid())
found = {name for name in ("model", "train", "predictor", "k8s") if present(name)}
assert found == ours, f"{found}, not {ours}, in {stage}"
assert not present("pip"), "pip has no place in an image"
assert present("torch") == (stage in torch), "torch"
assert runtimes == runtime.get(stage, set()), runtimes
assert "sightline" in distributions
assert (site / min(ours) / "__pycache__").is_dir(), "sources are not compiled"
Path("/tmp/probe").write_text("")
for place in ("/", "/opt/sightline", "/opt/venv", "/var/tmp"):
    try:
        Path(place, "probe").write_text("")
    except OSError:
        continue
    raise AssertionError(f"{place} is writable")
print(f"{stage}: Python {sys.version.split()[0]}", *sorted(runtimes))
'

setting() {
  buildah "${store[@]}" inspect --type image --format "{{$1}}" "$image"
}

expect() {
  local found
  found=$(setting "$1")
  # shellcheck disable=SC2053 # a pattern is meant
  [[ $found == $2 ]] || {
    echo "$image: $1 is $found, expected $2" >&2
    exit 1
  }
}

# Run a command as a pod would: an unprivileged number, a read-only root, a writable /tmp.
inside() {
  # shellcheck disable=SC2016 # expanded in there
  unshare --mount --propagation private bash -euc '
    root=$1; shift
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --bind /proc "$root/proc"
    mount --bind /dev "$root/dev"
    exec env --ignore-environment "$(command -v chroot)" --userspec=10001:10001 --groups= \
      "$root" env --chdir=/tmp "$@"
  ' inside "$root" "${environment[@]}" "$@"
}

smoke_test() {
  local root environment
  expect .Docker.Config.User 10001:10001
  expect .Docker.Config.Entrypoint "\[python -m $package]"
  expect .Docker.Config.StopSignal SIGTERM
  expect .Docker.Config.Healthcheck.Test "*$1*"
  mapfile -t environment < <(setting 'range .OCIv1.Config.Env}}{{println .}}{{end')
  container=$(buildah "${store[@]}" from --pull-never "$image")
  root=$(buildah "${store[@]}" mount "$container")
  inside python -c "$checks" "$stage" "$package"
  inside python -m "$package" --help >/dev/null
}

if ! buildah "${store[@]}" inspect --type image "$base" >/dev/null 2>&1; then
  echo "=== base image $base"
  make_base
fi
echo "=== stage $stage"
build
echo "=== smoke test"
if [[ $package == predictor ]]; then smoke_test /v2/health/ready; else smoke_test NONE; fi
if [[ -n $archive ]]; then
  echo "=== archive $archive"
  rm -f "$archive"
  buildah "${store[@]}" push --quiet "$image" "docker-archive:$archive:$image"
fi
buildah "${store[@]}" images --format '{{.Name}}:{{.Tag}} {{.Size}}' "$image"
