#!/usr/bin/env bash
# Run the tests that need a real node, in namespaces of their own for network, mounts and processes:
# all that they start, mount and route goes with them.
#
# usage: scripts/test-node.sh PYTHON [PYTEST ARGUMENT...]
#
# Needs root, the Debian packages containerd, runc, containernetworking-plugins, iptables, conntrack
# and prometheus, and what `make test-node` builds.
set -euo pipefail

if [[ ${1:-} != --inside ]]; then
  ((EUID == 0)) || {
    echo "this needs root: a node mounts and routes" >&2
    exit 1
  }
  # The kubelet sets them for the whole machine.
  settings=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops)
  before=$(for name in "${settings[@]}"; do echo "$name=$(sysctl -n "$name")"; done)
  # shellcheck disable=SC2329 # called by the trap
  restore() {
    xargs sysctl -qw <<<"$before"
    find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
  }
  trap restore EXIT
  unshare --net --mount --pid --fork --kill-child --mount-proc "${BASH_SOURCE[0]}" --inside "$@"
  exit
fi

shift
# Volumes that the kubelet mounts have to reach the containers.
mount --make-rshared /
mount -t tmpfs none /run
SIGHTLINE_NAMESPACES=1 "$1" -m pytest -m node "${@:2}" tests/node
