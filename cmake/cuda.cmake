# TROUPE_CUDA=AUTO|ON|OFF becomes TROUPE_WITH_CUDA; where that is on: CUDA::cudart, NCCL::nccl and the target troupe_cuda,
# which stands for the CUDA sources and their callers. ON compiles without a GPU or driver.
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
  add_library(NCCL::nccl INTERFACE IMPORTED)
  set_target_properties(NCCL::nccl PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${NCCL_INCLUDE}" INTERFACE_LINK_LIBRARIES "${NCCL_LIBRARY}")
  add_custom_target(troupe_cuda)
endif()
