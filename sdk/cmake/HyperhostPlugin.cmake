# SPDX-License-Identifier: Apache-2.0
# hyperhost_add_plugin(NAME SOURCES file… [MANIFEST manifest.json] [LIBS library…])
#
# Builds NAME.so as a hyperhost plugin: the manifest is compiled in (as a symbol and as the ELF
# section .hyper_manifest, which the host reads without loading the plugin), one symbol is
# exported, and an undefined symbol is a link error. The project must have C among its languages
# (for the manifest); C++ sources are compiled as C++17 at least.
set(HYPERHOST_SDK_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR})

function(hyperhost_add_plugin name)
  cmake_parse_arguments(arg "" "MANIFEST" "SOURCES;LIBS" ${ARGN})
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "hyperhost_add_plugin(${name}): SOURCES is missing")
  endif()
  get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
  if(NOT C IN_LIST languages)
    message(FATAL_ERROR "hyperhost_add_plugin(${name}): the manifest is compiled as C; "
                        "write project(… LANGUAGES C CXX)")
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
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," HYPER_MANIFEST_BYTES "${hex}")
  get_filename_component(HYPER_MANIFEST_NAME ${manifest} NAME)
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${name}_manifest.c)
  configure_file(${HYPERHOST_SDK_CMAKE_DIR}/hyper_manifest.c.in ${generated} @ONLY)

  add_library(${name} MODULE ${arg_SOURCES} ${generated})
  set_target_properties(${name} PROPERTIES
    PREFIX "" OUTPUT_NAME ${HYPER_MANIFEST_ID}
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${HYPERHOST_SDK_CMAKE_DIR}/plugin.map)
  if(CXX IN_LIST languages)
    target_compile_features(${name} PRIVATE cxx_std_17)
  endif()
  target_link_libraries(${name} PRIVATE hyperhost::sdk ${arg_LIBS})
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${HYPERHOST_SDK_CMAKE_DIR}/plugin.map)
  # A sanitizer's runtime is resolved from the executable.
  if(NOT HYPERHOST_SANITIZE AND NOT "${CMAKE_C_FLAGS} ${CMAKE_CXX_FLAGS}" MATCHES "-fsanitize=")
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
endfunction()
