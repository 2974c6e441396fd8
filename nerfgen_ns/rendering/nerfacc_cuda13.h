/* nerfacc 0.5.2 uses cub::Equality, which CUDA 13's CUB no longer has. Compile its kernels with
 *     NVCC_PREPEND_FLAGS="-include /path/of/this/file"
 * With an older CUDA this defines nothing. */
#pragma once
#if defined(__CUDACC__) && defined(__CUDACC_VER_MAJOR__) && __CUDACC_VER_MAJOR__ >= 13
namespace cub {
struct Equality {
  template <typename First, typename Second>
  __host__ __device__ bool operator()(const First& first, const Second& second) const {
    return first == second;
  }
};
}  // namespace cub
#endif
