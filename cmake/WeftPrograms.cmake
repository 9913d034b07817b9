# How weft's own tests, benchmarks and examples are compiled. Nothing here reaches a user of weft.

if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release)
  endif()
  find_program(WEFT_CCACHE ccache)
  mark_as_advanced(WEFT_CCACHE)
  if(WEFT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # ccache asks for this, and for the flags in weft_precompile, to work with precompiled headers.
    set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${WEFT_CCACHE})
  endif()
endif()

# Flags that every program of weft is compiled with, whatever the instruction set.
function(weft_program_flags target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -Wshadow)
  if(WEFT_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  target_compile_definitions(${target} PRIVATE
    WEFT_EXAMPLE_DATA="${PROJECT_SOURCE_DIR}/examples/data"
    WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE weft::weft weft::io weft::eigen)
endfunction()

# The same for a program of one instruction set, WEFT_ARCH.
function(weft_program target)
  weft_program_flags(${target})
  if(WEFT_ARCH)
    target_compile_options(${target} PRIVATE -march=${WEFT_ARCH})
  endif()
endfunction()

# Parses the given headers once for all sources of a program. g++ forgets `#pragma GCC diagnostic` in
# precompiled headers, and its own AVX-512 intrinsics quieten this warning with it.
function(weft_precompile target)
  target_precompile_headers(${target} PRIVATE ${ARGN})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fpch-preprocess
      -Wno-uninitialized -Wno-maybe-uninitialized)
  else()
    target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endfunction()

# A program of one instruction set for tests: assertions on, and their data folder known. -O3 takes
# g++ a quarter longer than -O2 for them; what is compiled with -O1 or -Og takes many times as long
# to run.
function(weft_test_program target)
  weft_program(${target})
  target_compile_options(${target} PRIVATE -UNDEBUG "$<$<CONFIG:Release>:-O2>")
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_compile_definitions(${target} PRIVATE
    WEFT_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
  add_dependencies(weft_test_programs ${target})
endfunction()
