# A port for an overlay inside of a checkout: vcpkg install snowglobe --overlay-ports=packaging
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS FEATURES tools SNOWGLOBE_CLI)
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS ${FEATURE_OPTIONS} -DSNOWGLOBE_TESTS=OFF -DSNOWGLOBE_BENCH=OFF -DSNOWGLOBE_WERROR=OFF
          -DSNOWGLOBE_BUILD_TREE_IMAGE=)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME snowglobe CONFIG_PATH lib/cmake/snowglobe)
vcpkg_fixup_pkgconfig()
if("tools" IN_LIST FEATURES)
  vcpkg_copy_tools(TOOL_NAMES snowglobe AUTO_CLEAN)
endif()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
