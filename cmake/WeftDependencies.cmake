# What weft and its programs are built on: an installed package first, a pinned download second.
#
# Each weft_find_*(... out) sets `out` to include folders, or leaves a target behind where there is
# something to link. A download is named by its commit, so it cannot change under us.

include(FetchContent)
if(POLICY CMP0135)
  cmake_policy(SET CMP0135 NEW)
endif()

# Fetches the archive at `url` as FetchContent `name`, or says what to install instead. Only the
# sources are taken; with BUILD the project's own CMakeLists.txt is run too.
macro(weft_fetch name version url package)
  string(TOUPPER ${name} weft_upper)
  if(NOT FETCHCONTENT_SOURCE_DIR_${weft_upper})
    _weft_download(${name} ${version} ${url} ${package} weft_archive)
  endif()
  if("${ARGN}" STREQUAL "BUILD")
    FetchContent_Declare(${name} URL "${weft_archive}")
  else()
    FetchContent_Declare(${name} URL "${weft_archive}" SOURCE_SUBDIR only-the-sources)
  endif()
  FetchContent_MakeAvailable(${name})
endmacro()

function(_weft_download name version url package out)
  set(archive "${CMAKE_BINARY_DIR}/_deps/${name}-${version}.tar.gz")
  set(${out} "${archive}" PARENT_SCOPE)
  if(EXISTS "${archive}")
    return()
  endif()
  message(STATUS "weft: ${name} is not installed; downloading ${version} from ${url}")
  set(failed 1)
  if(NOT FETCHCONTENT_FULLY_DISCONNECTED)
    file(DOWNLOAD "${url}" "${archive}.part" STATUS status INACTIVITY_TIMEOUT 20)
    list(GET status 0 failed)
  endif()
  if(failed)
    file(REMOVE "${archive}.part")
    message(FATAL_ERROR
      "weft needs ${name} ${version} or later: it is not installed, and downloading it failed.\n"
      "Install it (Debian, Ubuntu: apt-get install ${package}), point CMAKE_PREFIX_PATH at it, or "
      "pass -DFETCHCONTENT_SOURCE_DIR_${weft_upper}=<its source folder>.")
  endif()
  file(RENAME "${archive}.part" "${archive}")
endfunction()

# Include folders of a target, as they stand: they outlive the scope of an imported target.
function(_weft_include_of target out)
  get_target_property(dirs ${target} INTERFACE_INCLUDE_DIRECTORIES)
  list(REMOVE_DUPLICATES dirs)
  set(${out} "${dirs}" PARENT_SCOPE)
endfunction()

function(weft_find_xsimd out)
  if(NOT TARGET xsimd)
    find_package(xsimd QUIET)
    if(xsimd_FOUND AND xsimd_VERSION VERSION_LESS 8.1)
      message(FATAL_ERROR "weft needs xsimd 8.1 or later, found ${xsimd_VERSION} in ${xsimd_DIR}")
    endif()
  endif()
  if(TARGET xsimd)
    _weft_include_of(xsimd dirs)
  else()
    weft_fetch(xsimd 8.1.0
      https://github.com/xtensor-stack/xsimd/archive/1577b02d549cca52aa5e943c16f2600950480289.tar.gz
      libxsimd-dev)
    set(dirs "${xsimd_SOURCE_DIR}/include")
  endif()
  set(${out} "${dirs}" PARENT_SCOPE)
endfunction()

# Unless `required`, `out` is empty where the package is not installed.
function(weft_find_json required out)
  if(NOT TARGET nlohmann_json::nlohmann_json)
    find_package(nlohmann_json 3.9 QUIET)
  endif()
  set(dirs "")
  if(TARGET nlohmann_json::nlohmann_json)
    _weft_include_of(nlohmann_json::nlohmann_json dirs)
  elseif(required)
    weft_fetch(nlohmann_json 3.11.2
      https://github.com/nlohmann/json/archive/bc889afb4c5bf1c0d8ee29ef35eaaf4c8bef8a5d.tar.gz
      nlohmann-json3-dev)
    set(dirs "${nlohmann_json_SOURCE_DIR}/include")
  endif()
  set(${out} "${dirs}" PARENT_SCOPE)
endfunction()

# Unless `required`, `out` is empty where the package is not installed.
function(weft_find_eigen required out)
  if(NOT TARGET Eigen3::Eigen)
    find_package(Eigen3 QUIET NO_MODULE)
    if(Eigen3_FOUND AND Eigen3_VERSION VERSION_LESS 3.4)
      message(FATAL_ERROR "weft needs Eigen 3.4 or later, found ${Eigen3_VERSION} in ${Eigen3_DIR}")
    endif()
  endif()
  set(dirs "")
  if(TARGET Eigen3::Eigen)
    _weft_include_of(Eigen3::Eigen dirs)
  elseif(required)
    set(commit 3147391d946bb4b6c68edd901f2add6ac1f31f8c)
    weft_fetch(eigen3 3.4.0
      https://gitlab.com/libeigen/eigen/-/archive/${commit}/eigen-${commit}.tar.gz libeigen3-dev)
    set(dirs "${eigen3_SOURCE_DIR}")
  endif()
  set(${out} "${dirs}" PARENT_SCOPE)
endfunction()

# The target `weft_catch`: Catch2 3 where it is installed, else version 2. Sets `out` to the version.
function(weft_find_catch out)
  find_package(Catch2 QUIET)
  add_library(weft_catch INTERFACE)
  if(Catch2_FOUND AND Catch2_VERSION VERSION_GREATER_EQUAL 3)
    target_link_libraries(weft_catch INTERFACE Catch2::Catch2WithMain)
  elseif(Catch2_FOUND)
    target_link_libraries(weft_catch INTERFACE Catch2::Catch2)
  else()
    set(Catch2_VERSION 2.13.10)
    weft_fetch(catch2 ${Catch2_VERSION}
      https://github.com/catchorg/Catch2/archive/182c910b4b63ff587a3440e08f84f70497e49a81.tar.gz
      catch2)
    target_include_directories(weft_catch SYSTEM INTERFACE "${catch2_SOURCE_DIR}/single_include")
  endif()
  set(${out} ${Catch2_VERSION} PARENT_SCOPE)
endfunction()

# The target benchmark::benchmark.
function(weft_find_benchmark)
  find_package(benchmark QUIET)
  if(NOT benchmark_FOUND)
    set(BENCHMARK_ENABLE_TESTING OFF CACHE BOOL "" FORCE)
    set(BENCHMARK_ENABLE_INSTALL OFF CACHE BOOL "" FORCE)
    weft_fetch(benchmark 1.7.1
      https://github.com/google/benchmark/archive/d572f4777349d43653b21d6c2fc63020ab326db2.tar.gz
      libbenchmark-dev BUILD)
  else()
    set_target_properties(benchmark::benchmark PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
endfunction()

# The target weft_utf8proc, for Unicode normalisation in examples/sentence_encoder.
function(weft_find_utf8proc)
  add_library(weft_utf8proc INTERFACE)
  find_path(UTF8PROC_INCLUDE utf8proc.h)
  find_library(UTF8PROC_LIBRARY utf8proc)
  mark_as_advanced(UTF8PROC_INCLUDE UTF8PROC_LIBRARY)
  if(UTF8PROC_INCLUDE AND UTF8PROC_LIBRARY)
    target_include_directories(weft_utf8proc SYSTEM INTERFACE "${UTF8PROC_INCLUDE}")
    target_link_libraries(weft_utf8proc INTERFACE "${UTF8PROC_LIBRARY}")
  else()
    set(UTF8PROC_INSTALL OFF CACHE BOOL "" FORCE)
    weft_fetch(utf8proc 2.8.0
      https://github.com/JuliaStrings/utf8proc/archive/1cb28a66ca79a0845e99433fd1056257456cef8b.tar.gz
      libutf8proc-dev BUILD)
    target_link_libraries(weft_utf8proc INTERFACE utf8proc)
  endif()
endfunction()
