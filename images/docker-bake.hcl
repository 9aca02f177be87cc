# TAG=0.2.0 REGISTRY=registry.example/team docker buildx bake -f images/docker-bake.hcl --push
# builds launcher and cpu; add `all` for the image with CUDA too.

# Registry and path before the images' names.
variable "REGISTRY" {
  default = "localhost"
}

# Tag of the images: one that never moves, such as a version or a commit.
variable "TAG" {
  default = ""
  validation {
    condition     = TAG != "" && TAG != "latest"
    error_message = "Name a tag that never moves: TAG=0.2.0. Kubeflow caches steps by the image's name."
  }
}

# Commit that the images are built from.
variable "REVISION" {
  default = "unknown"
}

# Package index with PyTorch's wheels for CPUs; empty: what pip is configured with.
variable "TORCH_CPU_INDEX" {
  default = "https://download.pytorch.org/whl/cpu"
}

# Attach SBOM and provenance. Docker's own image store cannot hold them: ATTEST=false to load an image there.
variable "ATTEST" {
  default = true
}

group "default" {
  targets = ["launcher", "cpu"]
}

group "all" {
  targets = ["launcher", "cpu", "cuda"]
}

target "common" {
  context    = "."
  dockerfile = "images/Dockerfile"
  platforms  = ["linux/amd64"]
  args = {
    VERSION         = TAG
    REVISION        = REVISION
    TORCH_CPU_INDEX = TORCH_CPU_INDEX
  }
  attest = ATTEST ? ["type=provenance,mode=max", "type=sbom"] : []
}

target "launcher" {
  inherits = ["common"]
  target   = "launcher"
  tags     = ["${REGISTRY}/sharpen-python-launcher:${TAG}"]
}

target "cpu" {
  inherits = ["common"]
  target   = "cpu"
  tags     = ["${REGISTRY}/sharpen-python-cpu:${TAG}"]
}

target "cuda" {
  inherits = ["common"]
  target   = "cuda"
  tags     = ["${REGISTRY}/sharpen-python-cuda:${TAG}"]
}
