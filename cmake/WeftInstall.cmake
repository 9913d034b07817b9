# Headers, the exported targets, and the package files that find_package(weft) reads.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/weft")

set(components weft)
foreach(component weft_io weft_eigen)
  if(TARGET ${component})
    list(APPEND components ${component})
  endif()
endforeach()

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/weft" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS ${components} EXPORT weftTargets)
install(EXPORT weftTargets NAMESPACE weft:: DESTINATION "${package_dir}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/weftConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/package/weftConfig.cmake" INSTALL_DESTINATION "${package_dir}")
# Before 1.0 a new minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/weftConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  "${PROJECT_BINARY_DIR}/package/weftConfig.cmake"
  "${PROJECT_BINARY_DIR}/package/weftConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/WeftDispatch.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/weft_dispatch.hpp.in"
  DESTINATION "${package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
