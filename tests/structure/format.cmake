# cmake -DCLANG_FORMAT=... -DROOT=... -P format.cmake: every C++ file is as .clang-format wants it.

execute_process(COMMAND "${CLANG_FORMAT}" --version OUTPUT_VARIABLE version)
if(NOT version MATCHES "version ([0-9]+)" OR CMAKE_MATCH_1 LESS 16)
  message("clang-format 16 or later is needed, found: ${version}")
  return()
endif()

set(files "")
foreach(folder include tests bench examples)
  file(GLOB_RECURSE found "${ROOT}/${folder}/*.hpp" "${ROOT}/${folder}/*.cpp")
  list(APPEND files ${found})
endforeach()
execute_process(COMMAND "${CLANG_FORMAT}" --dry-run --Werror ${files} RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "format these files with: ${CLANG_FORMAT} -i <file>...")
endif()
