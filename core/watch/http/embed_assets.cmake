# SPDX-License-Identifier: Apache-2.0
# cmake -DOUTPUT=… -DSOURCE_DIR=… -P embed_assets.cmake: writes the files of web/ as C++.
set(assets
  "/|text/html|dashboard.html"
  "/dashboard.css|text/css|dashboard.css"
  "/dashboard.js|text/javascript|dashboard.js"
  "/favicon.ico|image/svg+xml|favicon.svg"
  "/api/v1/openapi.json|application/json|openapi.json")

set(arrays "")
set(table "")
set(index 0)
foreach(asset IN LISTS assets)
  string(REPLACE "|" ";" parts "${asset}")
  list(GET parts 0 path)
  list(GET parts 1 type)
  list(GET parts 2 file)
  if(type MATCHES "^text/")
    string(APPEND type "; charset=utf-8")
  endif()
  file(READ "${SOURCE_DIR}/${file}" hex HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" hex "${hex}")
  string(REPLACE "\n" "\"\n    \"" hex "${hex}")
  string(APPEND arrays "constexpr char kFile${index}[] =\n    \"${hex}\";\n")
  string(APPEND table
    "    {\"${path}\", \"${type}\", {kFile${index}, sizeof kFile${index} - 1}},\n")
  math(EXPR index "${index} + 1")
endforeach()

file(WRITE "${OUTPUT}" "// Made by embed_assets.cmake from core/watch/web.
#include \"core/watch/http/web_assets.hpp\"

namespace hyperhost {
namespace {
${arrays}
constexpr WebAsset kAssets[] = {
${table}};
}  // namespace

const WebAsset* find_web_asset(std::string_view path) {
  for (const WebAsset& asset : kAssets)
    if (asset.path == path) return &asset;
  return nullptr;
}
}  // namespace hyperhost
")
