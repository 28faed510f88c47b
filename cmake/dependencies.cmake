# Every third-party library as a target, always SYSTEM. What is missing is reported in one list at the end.

set(missing "")
macro(troupe_require condition package)
  if(NOT (${condition}))
    list(APPEND missing "${package}")
  endif()
endmacro()

list(APPEND CMAKE_PREFIX_PATH $ENV{CONDA_PREFIX})  # where conda put them; the variable is empty elsewhere
find_package(PkgConfig QUIET)
find_package(Threads REQUIRED)
find_package(Boost 1.74 QUIET COMPONENTS program_options)
find_package(cereal QUIET)
find_package(nlohmann_json QUIET)
find_package(spdlog QUIET)
find_package(doctest QUIET)
find_package(MPI QUIET COMPONENTS CXX)
if(PkgConfig_FOUND)
  pkg_check_modules(zmq QUIET IMPORTED_TARGET libzmq)
  pkg_check_modules(zstd QUIET IMPORTED_TARGET libzstd)
  pkg_check_modules(xxhash QUIET IMPORTED_TARGET libxxhash)
  pkg_check_modules(pcre2 QUIET IMPORTED_TARGET libpcre2-8)
  pkg_check_modules(utf8proc QUIET IMPORTED_TARGET libutf8proc)
  pkg_check_modules(seccomp QUIET IMPORTED_TARGET libseccomp)
endif()
find_path(CPPZMQ_INCLUDE zmq.hpp)
if(EXISTS "$ENV{CHART_JS}")
  set(CHART_JS "$ENV{CHART_JS}" CACHE FILEPATH "chart.min.js of Chart.js 3")
endif()
find_file(CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist)

troupe_require(PkgConfig_FOUND pkg-config)
troupe_require(Boost_FOUND libboost-program-options-dev)
troupe_require(cereal_FOUND libcereal-dev)
troupe_require(nlohmann_json_FOUND nlohmann-json3-dev)
troupe_require(spdlog_FOUND libspdlog-dev)
troupe_require(MPI_CXX_FOUND libopenmpi-dev)
troupe_require(zmq_FOUND libzmq3-dev)
troupe_require(CPPZMQ_INCLUDE cppzmq-dev)
troupe_require(zstd_FOUND libzstd-dev)
troupe_require(xxhash_FOUND libxxhash-dev)
troupe_require(pcre2_FOUND libpcre2-dev)
troupe_require(utf8proc_FOUND libutf8proc-dev)
troupe_require(seccomp_FOUND libseccomp-dev)
troupe_require(CHART_JS libjs-chart.js)
if(TROUPE_TESTS)
  troupe_require(doctest_FOUND doctest-dev)
endif()

# libtorch: the folder that holds lib/libtorch_cpu.so and include/ATen. launch/setup.sh puts it into the cache and says so;
# find_package(Torch) is not used, because the wheel's insists on a CUDA toolkit.
set(TROUPE_CACHE "$ENV{TROUPE_CACHE}")
if(NOT TROUPE_CACHE)
  set(TROUPE_CACHE "$ENV{HOME}/.cache/troupe")
endif()
find_path(TORCH_ROOT lib/libtorch_cpu.so
  HINTS $ENV{TORCH_ROOT} ${TROUPE_CACHE}/libtorch-2.11.0/torch PATHS /opt/libtorch /usr/local/libtorch
  NO_DEFAULT_PATH)
troupe_require(TORCH_ROOT "libtorch 2.11")

if(missing)
  list(JOIN missing "\n  " missing_lines)
  message(FATAL_ERROR "Troupe lacks:\n  ${missing_lines}\nOne command gets all of it: ./launch/setup.sh")
endif()

target_include_directories(PkgConfig::zmq SYSTEM INTERFACE ${CPPZMQ_INCLUDE})

add_library(libtorch INTERFACE)
target_include_directories(libtorch SYSTEM INTERFACE ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
file(GLOB torch_gomp ${TORCH_ROOT}/lib/libgomp*.so*)
target_link_libraries(libtorch INTERFACE ${TORCH_ROOT}/lib/libtorch_cpu.so ${TORCH_ROOT}/lib/libc10.so ${torch_gomp})
# libtorch_cpu.so finds the CUDA runtime beside itself by its own RPATH; the linker need not see it.
target_link_options(libtorch INTERFACE -Wl,--allow-shlib-undefined -Wl,-rpath,${TORCH_ROOT}/lib)
