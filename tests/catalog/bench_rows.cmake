# Fails unless every variant of the catalog has a row in the benchmark program.
#   cmake -DCATALOG=weft_catalog -DBENCH=weft_bench -P bench_rows.cmake

execute_process(COMMAND "${CATALOG}" names OUTPUT_VARIABLE names COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${BENCH}" --benchmark_list_tests OUTPUT_VARIABLE rows
  COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" names "${names}")
list(LENGTH names count)
if(count EQUAL 0)
  message(FATAL_ERROR "the catalog is empty")
endif()
foreach(name IN LISTS names)
  string(FIND "\n${rows}" "\n${name}/" at)
  if(at EQUAL -1)
    message(SEND_ERROR "weft_bench has no row ${name}/...")
  endif()
endforeach()
