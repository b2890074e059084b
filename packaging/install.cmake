# What `cmake --install` and CPack put where: the components runtime, devel, image and tools. docs/packaging.md.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# --- runtime and devel
install(TARGETS snowglobe EXPORT snowglobeTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT devel
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT devel
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/api/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT devel)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
# A package has no path of another one: each component keeps its licence in a folder of its own.
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR}-dev COMPONENT devel)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR}-tools COMPONENT tools)

set(snowglobe_is_static ON)
if(BUILD_SHARED_LIBS)
  set(snowglobe_is_static OFF)
endif()
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/snowglobe)
install(EXPORT snowglobeTargets NAMESPACE snowglobe:: DESTINATION ${config_dir} COMPONENT devel)
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/snowglobeConfig.cmake.in ${PROJECT_BINARY_DIR}/packaging/snowglobeConfig.cmake
  INSTALL_DESTINATION ${config_dir} PATH_VARS CMAKE_INSTALL_DATADIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/packaging/snowglobeConfigVersion.cmake
                                 COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/packaging/snowglobeConfig.cmake
              ${PROJECT_BINARY_DIR}/packaging/snowglobeConfigVersion.cmake
              ${CMAKE_CURRENT_LIST_DIR}/snowglobeImage.cmake ${CMAKE_CURRENT_LIST_DIR}/embedded_image.c.in
        DESTINATION ${config_dir} COMPONENT devel)

# pkg-config finds the prefix from its own file's place, so that the tree can be moved.
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
if(BUILD_SHARED_LIBS)
  set(pc_requires "")
  set(pc_libs_private "")
else()
  set(pc_requires "libpq libcrypto libzstd libxxhash sqlite3 fmt")
  set(pc_libs_private "-lZydis -lZycore -lstdc++ -lm -ldl -pthread")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/snowglobe.pc.in ${PROJECT_BINARY_DIR}/packaging/snowglobe.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/packaging/snowglobe.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT devel)

# --- tools
if(TARGET snowglobe_cli)
  file(RELATIVE_PATH bin_to_lib /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
  set_target_properties(snowglobe_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${bin_to_lib}")
  install(TARGETS snowglobe_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
  install(FILES ${PROJECT_SOURCE_DIR}/cli/snowglobe.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT tools)
  # Made by the command itself when it is linked (cli/CMakeLists.txt); names as the shells look for them.
  set(completions ${PROJECT_BINARY_DIR}/cli/completions)
  install(FILES ${completions}/bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
          RENAME snowglobe COMPONENT tools OPTIONAL)
  install(FILES ${completions}/zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions
          RENAME _snowglobe COMPONENT tools OPTIONAL)
  install(FILES ${completions}/fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d
          RENAME snowglobe.fish COMPONENT tools OPTIONAL)
endif()

# --- image: the files that the manifest names, as they are when it is installed
install(FILES ${SNOWGLOBE_IMAGE_DIR}/manifest.json ${SNOWGLOBE_IMAGE_DIR}/vmlinux
              ${SNOWGLOBE_IMAGE_DIR}/root.erofs ${SNOWGLOBE_IMAGE_DIR}/cluster.disk.zst
              ${SNOWGLOBE_IMAGE_DIR}/ready.json ${SNOWGLOBE_IMAGE_DIR}/ready.snap
              ${SNOWGLOBE_IMAGE_DIR}/bare.json ${SNOWGLOBE_IMAGE_DIR}/bare.snap
        DESTINATION ${CMAKE_INSTALL_DATADIR}/snowglobe COMPONENT image OPTIONAL)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/image/README
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/snowglobe-image COMPONENT image)

include(${CMAKE_CURRENT_LIST_DIR}/cpack.cmake)
