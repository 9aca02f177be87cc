#!/usr/bin/env bash
# Look up what the tag of the base image means now, and pin the Dockerfile to it. Needs docker with buildx.
set -euo pipefail
cd "$(dirname "$0")"
line='^ARG PYTHON_IMAGE='
tag=$(sed -n "s/${line}\([^@]*\)@.*/\1/p" Dockerfile)
[ -n "$tag" ] || { echo "error: Dockerfile: no line ARG PYTHON_IMAGE=name:tag@digest" >&2; exit 2; }
digest=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "error: $tag: no digest found, got '$digest'" >&2; exit 1; }
sed -i "s|${line}.*|ARG PYTHON_IMAGE=$tag@$digest|" Dockerfile
echo "$tag is $digest"
