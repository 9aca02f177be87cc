#!/usr/bin/env bash
# A cluster on this machine with Kubeflow Pipelines and Sharpen: minikube.sh up [options of minikube start] | down
# With an NVIDIA GPU and its container toolkit: minikube.sh up --gpus all
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PROFILE=${PROFILE:-sharpen}

up() {
    local tag image
    need_docker
    need minikube "https://minikube.sigs.k8s.io/docs/start/"
    need kubectl "https://kubernetes.io/docs/tasks/tools/"
    tag=$(tag)
    if ! minikube status --profile "$PROFILE" >/dev/null 2>&1; then
        say "cluster $PROFILE: Kubernetes $KUBERNETES_VERSION"
        minikube start --profile "$PROFILE" --driver docker --kubernetes-version "$KUBERNETES_VERSION" \
            --cpus "${CPUS:-6}" --memory "${MEMORY:-12g}" --disk-size "${DISK:-40g}" "$@"
    fi
    kubectl config use-context "$PROFILE"
    build_images "$tag"
    say "handing the images to the cluster"
    for image in "cpu:$tag" "launcher:$tag" launcher:kind; do
        minikube image load --profile "$PROFILE" "localhost/sharpen-python-$image"
    done
    install_kubeflow
    install_sharpen
    next_commands "$tag"
}

case "${1:-}" in
    up)
        shift
        up "$@"
        ;;
    down) minikube delete --profile "$PROFILE" ;;
    *) fail 2 "minikube.sh up [options of minikube start] | down" ;;
esac
