#!/usr/bin/env bash
# Judge every kustomization below k8s/ that people apply with kube-score.
#
# usage: scripts/lint-manifests.sh KUBE_SCORE RENDER...
#
#   KUBE_SCORE   the program
#   RENDER       the command that renders a directory: kubectl kustomize, or kustomize build
set -euo pipefail

(($# >= 2)) || {
  sed -n 's/^# \(usage: .*\)/\1/p' "$0" >&2
  exit 2
}
kube_score=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# An image whose tag stays need not be pulled each time, and one volume has one server.
ignored=(
  --ignore-test container-image-pull-policy
  --ignore-test deployment-replicas
  --ignore-test deployment-strategy
)

# Whom a training may ask, only its cluster knows.
unsaid='^\[\(OK\|SKIPPED\)\]\|Job: The pod does not have a matching egress NetworkPolicy'

judge() {
  local part
  for part in "$@"; do
    "${render[@]}" "$part"
    echo ---
  done | "$kube_score" score --kubernetes-version v1.31 --output-format ci "${ignored[@]}" - |
    { grep --invert-match "$unsaid" || true; }
}

render=("$@")
failed=0
while IFS= read -r directory; do
  directory=${directory%/kustomization.yaml}
  case $directory in
    */base | */components/* | k8s/training/shared) continue ;;
    # The policy that guards the pods is there before them.
    k8s/training/*) parts=("$directory" k8s/training/shared) ;;
    *) parts=("$directory") ;;
  esac
  echo "$directory"
  judge "${parts[@]}" || failed=1
done < <(find k8s -name kustomization.yaml | sort)
exit "$failed"
