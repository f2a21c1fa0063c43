# SPDX-License-Identifier: Apache-2.0
# cmake -DINPUT=plan.schema.json -DOUTPUT=plan_schema.cpp -DHEADER=core/plan/plan.hpp -DFUNCTION=plan_schema_text -P embed.cmake
file(READ ${INPUT} text)
cmake_path(GET INPUT FILENAME name)
file(WRITE ${OUTPUT} "// Made from configs/${name}.
#include \"${HEADER}\"

namespace hyperhost {
std::string_view ${FUNCTION}() {
  return R\"schema(${text})schema\";
}
}  // namespace hyperhost
")
