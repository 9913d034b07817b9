# What weft must leave alone in someone else's project.

foreach(target weft_tests weft_bench weft_examples)
  if(TARGET ${target})
    message(FATAL_ERROR "as a subproject weft must not build ${target}")
  endif()
endforeach()
foreach(variable CMAKE_BUILD_TYPE CMAKE_CXX_COMPILER_LAUNCHER CMAKE_EXPORT_COMPILE_COMMANDS)
  if(${variable})
    message(FATAL_ERROR "as a subproject weft must not set ${variable} (${${variable}})")
  endif()
endforeach()
