# cmake -DNAME=<folder> -DWEFT_SOURCE=... -DWEFT_BUILD=... -DWORK=... -DGENERATOR=... -DCOMPILER=...
#       -P run.cmake
#
# Installs weft into an empty prefix, then configures, builds and tests the consumer project NAME
# with nothing else of weft's in reach.

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    string(REPLACE ";" " " command "${ARGV}")
    message(FATAL_ERROR "${command}\n${out}")
  endif()
endfunction()

file(REMOVE_RECURSE "${WORK}")
set(configure ${CMAKE_COMMAND} -S "${CMAKE_CURRENT_LIST_DIR}/${NAME}" -B "${WORK}/build"
  -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${COMPILER}")
if(NAME STREQUAL "find_package")
  run(${CMAKE_COMMAND} --install "${WEFT_BUILD}" --prefix "${WORK}/prefix")
  list(APPEND configure "-DCMAKE_PREFIX_PATH=${WORK}/prefix")
else()
  list(APPEND configure "-DWEFT_SOURCE=${WEFT_SOURCE}")
endif()

run(${configure})
run(${CMAKE_COMMAND} --build "${WORK}/build")
run(${CMAKE_CTEST_COMMAND} --test-dir "${WORK}/build" --output-on-failure --no-tests=error)

# Someone who installs their own project must not get ours with it.
if(NOT NAME STREQUAL "find_package")
  run(${CMAKE_COMMAND} --install "${WORK}/build" --prefix "${WORK}/prefix")
  file(GLOB_RECURSE installed "${WORK}/prefix/*")
  if(installed)
    message(FATAL_ERROR "a subproject installed ${installed}")
  endif()
endif()
