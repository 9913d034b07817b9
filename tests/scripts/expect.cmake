# cmake -DCOMMAND=<program;argument;...> -DEXIT_CODE=<number> -DTEXT=<regular expression> -P ...
#
# Passes when the command ends with the exit code and its output matches.

execute_process(COMMAND ${COMMAND} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
if(NOT code STREQUAL EXIT_CODE)
  message(FATAL_ERROR "exit code ${code}, expected ${EXIT_CODE}. Output:\n${out}")
endif()
if(NOT out MATCHES "${TEXT}")
  message(FATAL_ERROR "the output does not match '${TEXT}':\n${out}")
endif()
