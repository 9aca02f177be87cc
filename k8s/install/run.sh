#!/usr/bin/env bash
# Run the pipeline in the cluster that kind.sh or minikube.sh made, and wait for its end: run.sh [--set name=value ...]
# The kubectl context chooses the cluster. Needs `sharpen` and `kfp` in the PATH (make kind-run sets it).
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PORT=${PORT:-8888}
need sharpen "make kind-run brings it"
need kubectl "https://kubernetes.io/docs/tasks/tools/"
folder=$(mktemp -d)
forward=""
trap 'rm -rf "$folder"; [ -z "$forward" ] || kill "$forward" 2>/dev/null || true' EXIT

tag=$(tag)
sharpen compile --config "$ROOT/k8s/kind/run.yaml" "$@" --output "$folder/pipeline.yaml" \
    --image "localhost/sharpen-python-cpu:$tag" --launcher-image "localhost/sharpen-python-launcher:$tag" >/dev/null

kubectl port-forward --namespace "$NAMESPACE" service/ml-pipeline "$PORT:8888" >"$folder/forward.log" 2>&1 &
forward=$!
for _ in $(seq 60); do
    curl --silent --fail --output /dev/null "http://localhost:$PORT/apis/v2beta1/healthz" && break
    kill -0 "$forward" 2>/dev/null || fail 1 "no way to Kubeflow's API: $(tail -n 1 "$folder/forward.log") (another port: PORT=8889)"
    sleep 1
done

say "running; every step and its log: kubectl port-forward --namespace $NAMESPACE service/ml-pipeline-ui 8080:80"
kfp --endpoint "http://localhost:$PORT" run create --experiment-name sharpen --run-name "sharpen-$tag" \
    --package-file "$folder/pipeline.yaml" --watch
phase=$(kubectl get workflows --namespace "$NAMESPACE" --sort-by .metadata.creationTimestamp \
    --output jsonpath='{.items[-1:].status.phase}')
if [ "$phase" != Succeeded ]; then
    diagnose
    fail 1 "the run ended as ${phase:-unknown}; the step that failed is red in Kubeflow's pages"
fi
say "the run succeeded"
