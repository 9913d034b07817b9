# weft_add_dispatch(<target> SOURCES <file>... ARCHS <arch>...)
#
# Builds each source once per instruction set, with -march=<arch>, and links the builds into
# <target>, whose own sources are compiled for the lowest processor that it shall run on. An arch is
# x86-64, x86-64-v2, x86-64-v3 or x86-64-v4, and may name extensions: x86-64-v4+avx512bf16 adds
# -mavx512bf16.
#
# The builds differ by a tag type, weft::isa::x86_64_v3 and the like, from the generated header
# <weft_dispatch.hpp>; in the sources, WEFT_DISPATCH_ARCH stands for the name of the one being
# built. So a program declares a template, and each build defines it for its own tag:
#
#   template <class Isa> float dot(std::span<const float> a, std::span<const float> b);
#
#   // kernels.cpp, given as SOURCES
#   template <> float dot<weft::isa::WEFT_DISPATCH_ARCH>(...) { ... }
#
#   // main.cpp: picks the highest that the processor has, throws weft::error if there is none
#   float r = weft::dispatch([&]<class Isa>() { return dot<Isa>(a, b); });
#
# Several instruction sets in one program are an ODR trap. An inline function without an Arch in its
# signature (std::vector's, say) is compiled into every build under one name, and the linker keeps
# the copy that it meets first. If that is the AVX-512 copy, the baseline program calls it on a
# processor without AVX-512. So the builds are static libraries linked in ascending order: the
# target's own objects come first, as objects precede libraries on a link line, then the lowest
# build. Whatever copy is kept then needs no more than the lowest build that has the function, and
# every caller in a higher build can run it. What this cannot order are further static libraries:
# link those to the target before calling weft_add_dispatch.

set(_weft_dispatch_dir "${CMAKE_CURRENT_LIST_DIR}")

# Orders arch names by level, then by number of extensions.
function(_weft_sort_archs out)
  set(keys "")
  foreach(arch IN LISTS ARGN)
    if(NOT arch MATCHES "^x86-64(-v([234]))?((\\+[a-z0-9._]+)*)$")
      message(FATAL_ERROR "weft_add_dispatch: ${arch} is not an instruction set that can be asked "
        "for at run time; give x86-64[-v2|-v3|-v4][+extension...]")
    endif()
    set(level "${CMAKE_MATCH_2}")
    string(REGEX MATCHALL "\\+" extensions "${CMAKE_MATCH_3}")
    list(LENGTH extensions extensions)
    list(APPEND keys "${level}:${extensions}:${arch}")
  endforeach()
  list(SORT keys)
  list(REMOVE_DUPLICATES keys)
  list(TRANSFORM keys REPLACE "^[^:]*:[^:]*:" "")
  set(${out} "${keys}" PARENT_SCOPE)
endfunction()

# The compiler flags, tag name and run-time condition of one arch.
function(_weft_describe_arch arch flags_out tag_out condition_out)
  string(REPLACE "+" ";" parts "${arch}")
  list(POP_FRONT parts base)
  set(level 1)
  if(base MATCHES "-v([234])$")
    set(level ${CMAKE_MATCH_1})
  endif()
  set(flags "-march=${base}")
  set(condition "cpu_has_x86_64(${level})")
  foreach(extension IN LISTS parts)
    list(APPEND flags "-m${extension}")
    string(APPEND condition " && __builtin_cpu_supports(\"${extension}\")")
  endforeach()
  string(MAKE_C_IDENTIFIER "${arch}" tag)
  set(${flags_out} "${flags}" PARENT_SCOPE)
  set(${tag_out} "${tag}" PARENT_SCOPE)
  set(${condition_out} "${condition}" PARENT_SCOPE)
endfunction()

# One build: a static library compiled as the target is, plus the flags of its arch.
function(_weft_add_build target library tag flags)
  add_library(${library} STATIC ${ARGN})
  foreach(property INCLUDE_DIRECTORIES COMPILE_DEFINITIONS COMPILE_OPTIONS COMPILE_FEATURES)
    set_property(TARGET ${library} PROPERTY ${property} $<TARGET_PROPERTY:${target},${property}>)
  endforeach()
  target_link_libraries(${library} PRIVATE weft::weft)
  target_compile_options(${library} PRIVATE ${flags})
  target_compile_definitions(${library} PRIVATE WEFT_DISPATCH_ARCH=${tag})
  set_target_properties(${library} PROPERTIES
    CXX_EXTENSIONS OFF
    POSITION_INDEPENDENT_CODE ON
    # Link-time optimisation would inline across instruction sets.
    INTERPROCEDURAL_OPTIMIZATION OFF)
endfunction()

function(weft_add_dispatch target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;ARCHS")
  if(NOT arg_SOURCES OR NOT arg_ARCHS OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "usage: weft_add_dispatch(<target> SOURCES <file>... ARCHS <arch>...)")
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    message(FATAL_ERROR "weft_add_dispatch knows x86-64 only, this is ${CMAKE_SYSTEM_PROCESSOR}")
  endif()
  _weft_sort_archs(archs ${arg_ARCHS})

  set(isa_tags "")
  set(isa_list "")
  foreach(arch IN LISTS archs)
    _weft_describe_arch("${arch}" flags tag condition)
    string(APPEND isa_tags "struct ${tag} {\n"
      "  static constexpr const char* name = \"${arch}\";\n"
      "  static bool supported() { return ${condition}; }\n};\n")
    list(APPEND isa_list "isa::${tag}")
    _weft_add_build(${target} ${target}_${tag} ${tag} "${flags}" ${arg_SOURCES})
    target_link_libraries(${target} PRIVATE ${target}_${tag})
  endforeach()

  list(JOIN isa_list ", " isa_list)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/weft_dispatch/${target}")
  configure_file("${_weft_dispatch_dir}/weft_dispatch.hpp.in" "${folder}/weft_dispatch.hpp" @ONLY)
  target_include_directories(${target} PRIVATE "${folder}")
  target_link_libraries(${target} PRIVATE weft::weft)
endfunction()
