# SPDX-License-Identifier: Apache-2.0
# yyjson, always the same version (0.10.0) so that numbers print the same everywhere: its source is in the sdist of the PyPI
# package `yyjson`, taken at configure time with a pinned sha256 into build/third_party (kept between builds).
set(YYJSON_SDIST_VERSION 4.0.6)
set(YYJSON_SDIST_SHA256 fcd4dc15c1e39a30bf9fa85d56903029111506860fc3080ab0d81c6c6dacaa8c)
set(third_party ${CMAKE_CURRENT_SOURCE_DIR}/build/third_party)
set(yyjson_tar ${third_party}/yyjson-${YYJSON_SDIST_VERSION}.tar.gz)
set(yyjson_dir ${third_party}/yyjson-${YYJSON_SDIST_VERSION}/yyjson)
file(MAKE_DIRECTORY ${third_party})
file(LOCK ${third_party} DIRECTORY GUARD FILE TIMEOUT 300)
if(EXISTS ${yyjson_tar})
  file(SHA256 ${yyjson_tar} yyjson_have)
endif()
if(NOT "${yyjson_have}" STREQUAL "${YYJSON_SDIST_SHA256}")
  message(STATUS "Fetching yyjson (PyPI sdist ${YYJSON_SDIST_VERSION})")
  execute_process(
    COMMAND python3 -m pip download --quiet --no-deps --no-binary yyjson --dest ${third_party} yyjson==${YYJSON_SDIST_VERSION}
    RESULT_VARIABLE pip_status)
  if(EXISTS ${yyjson_tar})
    file(SHA256 ${yyjson_tar} yyjson_have)
  endif()
  if(NOT "${yyjson_have}" STREQUAL "${YYJSON_SDIST_SHA256}")
    message(FATAL_ERROR "yyjson ${YYJSON_SDIST_VERSION} could not be fetched or its sha256 is wrong (pip: ${pip_status})")
  endif()
endif()
if(NOT EXISTS ${yyjson_dir}/yyjson.c)
  file(ARCHIVE_EXTRACT INPUT ${yyjson_tar} DESTINATION ${third_party})
endif()
add_library(yyjson OBJECT ${yyjson_dir}/yyjson.c)
target_compile_definitions(yyjson PRIVATE yyjson_api=) # else it shows its names outside the library
add_library(yyjson_include INTERFACE)
target_include_directories(yyjson_include SYSTEM INTERFACE ${yyjson_dir})
