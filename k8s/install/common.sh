# Functions of the install scripts; sourced, not run.
# shellcheck shell=bash

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
# shellcheck source=versions.env
source "$HERE/versions.env"
NAMESPACE=kubeflow
WAIT_SECONDS=${WAIT_SECONDS:-1200}

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }

fail() { # CODE MESSAGE
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

TRAINER=${TRAINER:-}
[ -z "$TRAINER" ] || [ "$TRAINER" = v2 ] || fail 2 "TRAINER=$TRAINER: write v2 for Kubeflow Trainer too, or leave it out"
# A training pod must get no token for the API, which a TrainJob itself cannot say.
TRAINJOB="--set job.backend=trainjob --set job.runtime=sharpen-torch --set job.service_account=sharpen-training"

need() { # PROGRAM WHERE-TO-GET-IT
    command -v "$1" >/dev/null || fail 2 "$1 is not installed: $2"
}

need_docker() {
    need docker "https://docs.docker.com/engine/install/"
    docker info >/dev/null 2>&1 || fail 2 "Docker does not answer: start it, or add yourself to the group docker"
    docker buildx version >/dev/null 2>&1 || fail 2 "docker buildx is missing: install the package docker-buildx-plugin"
}

tag() {
    # What the images are built from, as a tag that never moves: Kubeflow caches steps by the image's name.
    (cd "$ROOT" && find images sharpen components pipeline pyproject.toml -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum | sha256sum | cut -c1-12)
}

build_images() { # TAG
    say "building the images launcher and cpu (five minutes the first time)"
    (cd "$ROOT" && TAG=$1 REGISTRY=localhost ATTEST=false docker buildx bake --file images/docker-bake.hcl --load)
    docker tag "localhost/sharpen-python-launcher:$1" localhost/sharpen-python-launcher:kind
}

install_kubeflow() {
    local kfp="github.com/kubeflow/pipelines/manifests/kustomize"
    say "Kubeflow Pipelines $KFP_VERSION"
    kubectl apply -k "$kfp/cluster-scoped-resources?ref=$KFP_VERSION"
    kubectl wait crd/applications.app.k8s.io --for condition=established --timeout=120s
    kubectl apply -k "$kfp/env/platform-agnostic?ref=$KFP_VERSION"
    say "Training Operator $TRAINING_OPERATOR_VERSION"
    kubectl apply --server-side --force-conflicts -k \
        "github.com/kubeflow/training-operator.git/manifests/overlays/standalone?ref=$TRAINING_OPERATOR_VERSION"
    wait_for_deployments
}

install_trainer() {
    say "Kubeflow Trainer $TRAINER_VERSION"
    kubectl apply --server-side --force-conflicts -k \
        "github.com/kubeflow/trainer.git/manifests/overlays/manager?ref=$TRAINER_VERSION"
    # its webhook checks the runtimes
    kubectl wait --for=condition=Available deployment --all --namespace kubeflow-system --timeout=600s
    kubectl apply --server-side --force-conflicts -k \
        "github.com/kubeflow/trainer.git/manifests/overlays/runtimes?ref=$TRAINER_VERSION"
}

wait_for_deployments() {
    say "waiting for Kubeflow: it pulls about 5 GB of images the first time"
    local end=$((SECONDS + WAIT_SECONDS))
    until kubectl wait --for=condition=Available deployment --all --namespace $NAMESPACE --timeout=20s >/dev/null 2>&1; do
        say "not ready yet: $(not_ready)"
        if ((SECONDS >= end)); then
            diagnose
            fail 1 "Kubeflow was not ready after $WAIT_SECONDS s; above is why (longer: WAIT_SECONDS=2400)"
        fi
    done
}

not_ready() {
    kubectl get deployments --namespace $NAMESPACE --no-headers \
        --output custom-columns=NAME:.metadata.name,READY:.status.availableReplicas | awk '$2 == "<none>" { printf "%s ", $1 }'
}

diagnose() {
    # Everything that tells why pods do not start, for people who have never looked for it.
    local pod
    echo "---- nodes"
    kubectl describe nodes | grep -A 8 -E '^Name:|^Conditions:|^Allocated resources:' || true
    echo "---- pods that do not run"
    kubectl get pods --namespace $NAMESPACE --output wide | grep -vE 'Running|Completed' || true
    echo "---- latest warnings"
    kubectl get events --namespace $NAMESPACE --field-selector type=Warning --sort-by .lastTimestamp | tail -n 20 || true
    for pod in $(kubectl get pods --namespace $NAMESPACE --no-headers | awk '$3 ~ /Error|CrashLoop/ { print $1 }' | head -n 3); do
        echo "---- last lines of $pod"
        kubectl logs --namespace $NAMESPACE --all-containers --tail 20 "$pod" || true
    done
}

install_sharpen() {
    local overlay=kind
    if [ -n "$TRAINER" ]; then
        install_trainer
        overlay=kind-trainer-v2
    fi
    say "accounts, roles, store and network policies of Sharpen"
    kubectl apply --server-side --force-conflicts -k "$ROOT/k8s/overlays/$overlay"
    check_store
}

check_store() {
    # The whole way of a step: image, account, secret, network policy, store. SeaweedFS knows its user a little later.
    local attempt
    for attempt in 1 2 3 4 5 6; do
        kubectl delete job store-check --namespace $NAMESPACE --ignore-not-found >/dev/null
        kubectl create job store-check --namespace $NAMESPACE --from=cronjob/sharpen-store-check >/dev/null
        if kubectl wait --for=condition=complete job/store-check --namespace $NAMESPACE --timeout=60s >/dev/null 2>&1; then
            say "the store answers"
            return
        fi
        say "the store does not answer yet ($attempt of 6)"
    done
    kubectl logs --namespace $NAMESPACE job/store-check --tail 20 || true
    kubectl describe pods --namespace $NAMESPACE --selector job-name=store-check | tail -n 20 || true
    fail 1 "a pod cannot use the object store; above is what it says"
}

next_commands() { # TAG
    cat <<TEXT

Ready. Kubeflow's pages: kubectl port-forward --namespace $NAMESPACE service/ml-pipeline-ui 8080:80, then http://localhost:8080

Next:
  make kind-run
TEXT
    if [ -n "$TRAINER" ]; then
        echo "  make kind-run RUN='$TRAINJOB'"
    fi
    say "images: localhost/sharpen-python-cpu:$1, localhost/sharpen-python-launcher:$1"
}
