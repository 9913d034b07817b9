# cmake -DCOMPILER=... -DSOURCE=... -DINCLUDE=<folder;...> -P check.cmake

file(STRINGS "${SOURCE}" first_line LIMIT_COUNT 1)
if(NOT first_line MATCHES "^// error: (.+)$")
  message(FATAL_ERROR "the first line of ${SOURCE} must be '// error: <text>'")
endif()
set(text "${CMAKE_MATCH_1}")
list(TRANSFORM INCLUDE PREPEND -I)
set(compile ${COMPILER} -std=c++20 -fsyntax-only ${INCLUDE} "${SOURCE}")

execute_process(COMMAND ${compile} RESULT_VARIABLE code ERROR_VARIABLE messages)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "must compile without WEFT_WRONG:\n${messages}")
endif()

execute_process(COMMAND ${compile} -DWEFT_WRONG RESULT_VARIABLE code ERROR_VARIABLE messages)
string(FIND "${messages}" "${text}" position)
if(code EQUAL 0)
  message(FATAL_ERROR "must not compile with WEFT_WRONG")
elseif(position EQUAL -1)
  message(FATAL_ERROR "the compiler's message lacks '${text}':\n${messages}")
endif()
