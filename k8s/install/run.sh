#!/usr/bin/env bash
# Run the pipeline in the cluster that kind.sh or minikube.sh made, and wait for its end: run.sh [--set name=value ...]
# The kubectl context chooses the cluster. Needs `sharpen` in the PATH (make kind-run sets it).
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
# The pages' service answers for the API too, so the links that are printed work while this runs.
kubectl port-forward --namespace "$NAMESPACE" service/ml-pipeline-ui "$PORT:80" >"$folder/forward.log" 2>&1 &
forward=$!
for _ in $(seq 60); do
    curl --silent --fail --output /dev/null "http://localhost:$PORT/apis/v2beta1/healthz" && break
    kill -0 "$forward" 2>/dev/null || fail 1 "no way to Kubeflow's API: $(tail -n 1 "$folder/forward.log") (another port: PORT=8889)"
    sleep 1
done

code=0
sharpen submit --endpoint "http://localhost:$PORT" --wait --config "$ROOT/k8s/kind/run.yaml" "$@" \
    --image "localhost/sharpen-python-cpu:$tag" --launcher-image "localhost/sharpen-python-launcher:$tag" || code=$?
# 1: a step failed; 2 and 3 say by themselves what is wrong
[ "$code" != 1 ] || diagnose
exit "$code"
