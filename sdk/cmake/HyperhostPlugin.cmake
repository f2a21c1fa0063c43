# SPDX-License-Identifier: Apache-2.0
# hyperhost_add_plugin(NAME SOURCES file… [MANIFEST manifest.json] [LIBS library…])
#
# Builds NAME.so as a hyperhost plugin: the manifest is compiled in (as a symbol and as the ELF
# section .hyper_manifest, which the host reads without loading the plugin), one symbol is
# exported, and an undefined symbol is a link error.
set(HYPERHOST_SDK_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR})

function(hyperhost_add_plugin name)
  cmake_parse_arguments(arg "" "MANIFEST" "SOURCES;LIBS" ${ARGN})
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "hyperhost_add_plugin(${name}): SOURCES is missing")
  endif()
  if(NOT arg_MANIFEST)
    set(arg_MANIFEST manifest.json)
  endif()
  get_filename_component(manifest ${arg_MANIFEST} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${manifest})
  file(READ ${manifest} text)
  string(JSON HYPER_MANIFEST_ID GET "${text}" id)
  string(JSON HYPER_MANIFEST_VERSION GET "${text}" version)
  file(READ ${manifest} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," HYPER_MANIFEST_BYTES "${hex}")
  get_filename_component(HYPER_MANIFEST_NAME ${manifest} NAME)
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${name}_manifest.c)
  configure_file(${HYPERHOST_SDK_CMAKE_DIR}/hyper_manifest.c.in ${generated} @ONLY)

  add_library(${name} MODULE ${arg_SOURCES} ${generated})
  set_target_properties(${name} PROPERTIES
    PREFIX "" OUTPUT_NAME ${HYPER_MANIFEST_ID}
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${HYPERHOST_SDK_CMAKE_DIR}/plugin.map)
  target_link_libraries(${name} PRIVATE hyperhost::sdk ${arg_LIBS})
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${HYPERHOST_SDK_CMAKE_DIR}/plugin.map)
  if(NOT HYPERHOST_SANITIZE)
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
endfunction()
