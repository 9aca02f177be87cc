#!/bin/sh
# Take out of the environment what no step uses; it would be a third of the image. What the steps do use is imported
# afterwards (precompile.py), so that a file too many that goes from here ends the build.
set -eu
cd /opt/sharpen/lib/python3.*/site-packages

# descriptions of Amazon's services other than S3 and its sign-in
find botocore/data -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name sts ! -name sso ! -name sso-oidc -exec rm -r {} +
[ -d torch ] || exit 0

# test suites, C++ headers and test programs, sources and stubs that only compilers and editors read
for package in joblib networkx numpy pandas pyarrow scipy sklearn sympy; do
    find "$package" -type d -name tests -prune -exec rm -r {} +
done
rm -rf pyarrow/include torch/include torch/test
# what tests of torch's operators are made from
rm -rf torch/testing/_internal/generated torch/testing/_internal/opinfo torch/testing/_internal/common_methods_invocations.py
rm -f torch/lib/libtorchbind_test.so torch/lib/libaoti_custom_ops.so torch/lib/libbackend_with_compiler.so torch/lib/libjitbackend_test.so
# data sets of scikit-learn's examples
rm -rf sklearn/datasets/data sklearn/datasets/descr sklearn/datasets/images
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' \) -delete
find torch/bin -type f ! -name torch_shm_manager -delete

# Arrow's own clients of remote stores and services
for name in flight s3 s3fs; do
    rm -f pyarrow/libarrow_"$name".so* pyarrow/libarrow_python_"$name".so* pyarrow/_"$name".*
done

# the same libraries under names by which nothing loads them, and a module of tests
rm -f pyarrow/libarrow_python*.so pyarrow/libarrow_python*.so.*.*.* pyarrow/_pyarrow_cpp_tests.*

[ -d nvidia ] || exit 0
# what programs for CUDA are compiled and linked with, and a solver for several GPUs that torch does not link
find nvidia triton -type f -name '*.a' -delete
rm -rf nvidia/*/include nvidia/*/lib/libcusolverMg.so.*
