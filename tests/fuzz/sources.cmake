# SPDX-License-Identifier: Apache-2.0
# What the targets need of the product, compiled for libFuzzer: a list, so that a round does not begin with an hour of compiling.
add_compile_options(-fsanitize=fuzzer-no-link,address -fno-omit-frame-pointer -fno-sanitize-recover=all
  -fsanitize=bounds,bool,enum,float-cast-overflow,integer-divide-by-zero,return,shift,signed-integer-overflow,unreachable)
add_link_options(-fsanitize=address,undefined)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(pugixml REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
pkg_check_modules(LIBDEFLATE REQUIRED IMPORTED_TARGET libdeflate)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)

# fuzz_sources(NAME DIRECTORY SOURCES …)
function(fuzz_sources name directory)
  list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/${directory}/)
  add_library(${name} STATIC ${ARGN})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/plugins/converter/parallel-disk)
  target_link_libraries(${name} PUBLIC hyperhost::sdk nlohmann_json::nlohmann_json Threads::Threads pugixml::pugixml
    OpenSSL::SSL OpenSSL::Crypto ZLIB::ZLIB CURL::libcurl PkgConfig::LIBDEFLATE PkgConfig::ZSTD)
  hyperhost_unity(${name})
endfunction()

# Two libraries that need each other, as in the product: the sources of a folder are compiled as one.
fuzz_sources(sources_images plugins/converter/parallel-disk
  image_source.cpp codec/inflate.cpp engine/input.cpp engine/limited_source.cpp format/qcow2.cpp format/raw.cpp
  reader/map_reader.cpp reader/vmdk_stream.cpp)
fuzz_sources(sources_formats plugins/converter/parallel-disk
  format/backing.cpp format/image_file.cpp format/probe.cpp format/run_merger.cpp format/vdi.cpp format/vhd.cpp format/vhdx.cpp
  format/vhdx_log.cpp format/vmdk.cpp format/vmdk_descriptor.cpp format/vmdk_sparse.cpp)
target_link_libraries(sources_images PUBLIC sources_formats)
target_link_libraries(sources_formats PUBLIC sources_images)
fuzz_sources(sources_ovf plugins/provider/local-ovf
  digest.cpp disk_probe.cpp file.cpp gzip_reader.cpp hardware.cpp ovf_parse.cpp package.cpp tar_index.cpp units.cpp
  vmdk_descriptor.cpp xml.cpp)
fuzz_sources(sources_http plugins/http client.cpp download.cpp errors.cpp handle.cpp headers.cpp tls.cpp)
fuzz_sources(sources_vsphere plugins/provider/vsphere
  fault.cpp login_gate.cpp names.cpp properties.cpp session.cpp stream_check.cpp vm_info.cpp xml.cpp)
fuzz_sources(sources_stores plugins/storage
  object/digest.cpp object/sigv4.cpp s3/credentials.cpp s3/s3_xml.cpp s3/s3_error.cpp azure-blob/azure_auth.cpp
  azure-blob/azure_service.cpp
  azure-blob/block_blobs.cpp gcs/gcs_json.cpp gcs/gcs_service.cpp gcs/google_auth.cpp gcs/signed_url.cpp)
fuzz_sources(sources_boot plugins/boot/qemu-boot console_text.cpp evidence.cpp)
fuzz_sources(sources_guest plugins/guest/guestfs/text
  boot_args.cpp boot_records.cpp device_names.cpp edit.cpp mount_tables.cpp nic_names.cpp)
set(plugins sources_boot sources_guest sources_images sources_ovf sources_vsphere sources_stores sources_http)

# The texts that the core compiles in (core/CMakeLists.txt).
set(texts)
foreach(text plan:plan.hpp:plan.schema.json host:host_config.hpp:hyperhost.schema.json)
  string(REPLACE ":" ";" text ${text})
  list(GET text 0 name)
  list(GET text 1 header)
  list(GET text 2 file)
  set(file ${PROJECT_SOURCE_DIR}/configs/${file})
  set(made ${CMAKE_CURRENT_BINARY_DIR}/${name}_schema_text.cpp)
  set(embed ${PROJECT_SOURCE_DIR}/core/plan/embed.cmake)
  add_custom_command(OUTPUT ${made} VERBATIM DEPENDS ${file} ${embed} COMMAND ${CMAKE_COMMAND} -DOUTPUT=${made} -DINPUT=${file}
    -DHEADER=core/plan/${header} -DFUNCTION=${name}_schema_text -P ${embed})
  list(APPEND texts ${made})
endforeach()
file(GLOB documents CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/sdk/schema/*.json)
set(embed ${PROJECT_SOURCE_DIR}/core/plugin/embed_schemas.cmake)
set(made ${CMAKE_CURRENT_BINARY_DIR}/document_texts.cpp)
add_custom_command(OUTPUT ${made} VERBATIM DEPENDS ${documents} ${embed}
  COMMAND ${CMAKE_COMMAND} -DOUTPUT=${made} -DSOURCE_DIR=${PROJECT_SOURCE_DIR}/sdk/schema -P ${embed})
configure_file(${PROJECT_SOURCE_DIR}/core/base/version.cpp.in version.cpp @ONLY)
list(APPEND texts ${made} ${CMAKE_CURRENT_BINARY_DIR}/version.cpp)

# Whole rooms where most of a room is needed.
file(GLOB rooms RELATIVE ${PROJECT_SOURCE_DIR}/core CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/core/base/*.cpp ${PROJECT_SOURCE_DIR}/core/config/*.cpp ${PROJECT_SOURCE_DIR}/core/plan/*.cpp
  ${PROJECT_SOURCE_DIR}/core/plugin/services/*.cpp ${PROJECT_SOURCE_DIR}/core/structures/*.cpp)
fuzz_sources(sources_core core ${rooms}
  os/child_process.cpp os/file_trust.cpp os/process_identity.cpp
  block/nbd_handshake.cpp block/nbd_stream.cpp block/nbd_transmission.cpp
  plugin/documents.cpp plugin/document_schema.cpp plugin/elf_section.cpp plugin/operation.cpp
  plugin/isolation/call.cpp plugin/isolation/crossing.cpp plugin/isolation/imported.cpp plugin/isolation/lane.cpp plugin/isolation/offered.cpp
  plugin/isolation/peer.cpp plugin/isolation/shared_memory.cpp
  watch/audit/audit_chain.cpp)
target_sources(sources_core PRIVATE ${texts})
target_link_libraries(sources_core PUBLIC yaml-cpp spdlog::spdlog ${CMAKE_DL_LIBS})
set(core sources_core)
