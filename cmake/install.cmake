# SPDX-License-Identifier: Apache-2.0
# What `make install` puts where: both libraries, the header, a pkg-config file and a CMake package (src/cli adds the
# command). All of it finds itself relative to its own place, so that the tree can be moved.
include(CMakePackageConfigHelpers)
set(rkf_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rkformer)

# The static library as one object whose inner names are local: they must not meet those of the program it is linked into.
set(rkf_archive ${CMAKE_CURRENT_BINARY_DIR}/installed/librkformer.a)
set(rkf_object ${CMAKE_CURRENT_BINARY_DIR}/installed/rkformer.o)
add_custom_command(OUTPUT ${rkf_archive}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/installed
  COMMAND ${CMAKE_COMMAND} -E rm -f ${rkf_archive}
  COMMAND ${CMAKE_LINKER} -r -o ${rkf_object} --whole-archive $<TARGET_FILE:rkformer_static>
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${rkf_object}
  COMMAND ${CMAKE_AR} rcs ${rkf_archive} ${rkf_object}
  DEPENDS rkformer_static VERBATIM)
add_custom_target(rkformer_archive ALL DEPENDS ${rkf_archive})

add_custom_target(product DEPENDS rkformer rkformer_archive rknnrt-sim) # what is installed
if(RKF_COMMAND)
  add_dependencies(product rkformer_cli)
endif()

file(RELATIVE_PATH rkf_pc_up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
file(RELATIVE_PATH rkf_config_up /${rkf_cmake_dir} /)
configure_file(cmake/rkformer.pc.in ${CMAKE_CURRENT_BINARY_DIR}/installed/rkformer.pc @ONLY)
configure_file(cmake/rkformerConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/installed/rkformerConfig.cmake @ONLY)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/installed/rkformerConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)

install(TARGETS rkformer LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS rknnrt-sim LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/rkformer) # --device sim looks there
install(FILES ${rkf_archive} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/installed/rkformer.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/installed/rkformerConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/installed/rkformerConfigVersion.cmake DESTINATION ${rkf_cmake_dir})
# yyjson is inside the binaries: its licence goes with them.
install(FILES LICENSE docs/example.c DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${yyjson_dir}/../LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME LICENSE.yyjson)
