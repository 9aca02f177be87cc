#!/usr/bin/env bash
# A cluster on this machine with Kubeflow Pipelines and Sharpen: kind.sh up | down
# Needs Docker, kind, kubectl; 6 cores, 12 GB of memory and 40 GB of disk are comfortable.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

CLUSTER=${CLUSTER:-sharpen}

up() {
    local tag
    need_docker
    need kind "https://kind.sigs.k8s.io/docs/user/quick-start/#installation ($KIND_VERSION or newer)"
    need kubectl "https://kubernetes.io/docs/tasks/tools/"
    tag=$(tag)
    if ! kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; then
        say "cluster $CLUSTER: Kubernetes $KUBERNETES_VERSION"
        kind create cluster --name "$CLUSTER" --config "$ROOT/k8s/kind/cluster.yaml" --wait 180s
    fi
    kubectl config use-context "kind-$CLUSTER"
    build_images "$tag"
    say "handing the images to the cluster"
    kind load docker-image --name "$CLUSTER" "localhost/sharpen-python-cpu:$tag" \
        "localhost/sharpen-python-launcher:$tag" localhost/sharpen-python-launcher:kind
    install_kubeflow
    install_sharpen
    next_commands "$tag"
}

case "${1:-}" in
    up) up ;;
    down) kind delete cluster --name "$CLUSTER" ;;
    *) fail 2 "kind.sh up | down" ;;
esac
