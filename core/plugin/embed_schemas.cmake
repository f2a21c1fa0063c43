# SPDX-License-Identifier: Apache-2.0
# cmake -DSOURCE_DIR=sdk/schema -DOUTPUT=document_texts.cpp -P embed_schemas.cmake
file(GLOB files ${SOURCE_DIR}/*.json)
list(SORT files)
set(entries "")
foreach(file IN LISTS files)
  cmake_path(GET file FILENAME name)
  string(REGEX REPLACE "[.]json$" "" name ${name})
  file(READ ${file} text)
  string(APPEND entries "      {\"${name}\", R\"schema(${text})schema\"},\n")
endforeach()
file(WRITE ${OUTPUT} "// Made from sdk/schema.
#include \"core/plugin/document_schema.hpp\"

namespace hyperhost {
const std::vector<DocumentText>& document_texts() {
  static const std::vector<DocumentText> texts = {
${entries}  };
  return texts;
}
}  // namespace hyperhost
")
