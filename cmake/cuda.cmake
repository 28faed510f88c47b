# TROUPE_CUDA=AUTO|ON|OFF becomes TROUPE_WITH_CUDA; where that is on: the CUDA language, CUDA::cudart, CUDA::cublasLt, NCCL::nccl,
# libtorch's CUDA half, and the target troupe_cuda, which stands for the CUDA sources and their callers. ON compiles without a GPU
# or driver.
set(TROUPE_WITH_CUDA OFF)
if(NOT TROUPE_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
  find_path(NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
  find_library(CUDA_DRIVER libcuda.so.1)
  if(CUDAToolkit_FOUND AND NCCL_INCLUDE AND NCCL_LIBRARY AND (CUDA_DRIVER OR TROUPE_CUDA STREQUAL "ON"))
    set(TROUPE_WITH_CUDA ON)
  elseif(TROUPE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TROUPE_CUDA=ON needs the CUDA toolkit (found: ${CUDAToolkit_FOUND}) and NCCL (nccl.h: "
                        "${NCCL_INCLUDE}, library: ${NCCL_LIBRARY})")
  endif()
endif()

if(TROUPE_WITH_CUDA)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90 CACHE STRING "GPU types to compile for: 80 (A100), 90 (H100, H200), …")
  endif()
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE} CACHE FILEPATH "nvcc")
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # libtorch loads the shared one
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 knows no flag of nvcc 13 for a later one
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
  add_library(NCCL::nccl INTERFACE IMPORTED)
  set_target_properties(NCCL::nccl PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${NCCL_INCLUDE}" INTERFACE_LINK_LIBRARIES "${NCCL_LIBRARY}")
  # Its operations register themselves as it is loaded, so the linker must keep it. The libraries that it needs itself lie beside it.
  add_library(libtorch_cuda INTERFACE)
  target_link_libraries(libtorch_cuda INTERFACE libtorch CUDA::cudart CUDA::cublasLt
    "-Wl,--no-as-needed,${TORCH_ROOT}/lib/libtorch_cuda.so,${TORCH_ROOT}/lib/libc10_cuda.so,--as-needed")
  target_include_directories(libtorch_cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  add_custom_target(troupe_cuda)
endif()
