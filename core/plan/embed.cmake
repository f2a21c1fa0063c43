# SPDX-License-Identifier: Apache-2.0
# cmake -DINPUT=plan.schema.json -DOUTPUT=plan_schema.cpp -P embed.cmake
file(READ ${INPUT} text)
file(WRITE ${OUTPUT} "// Made from configs/plan.schema.json.
#include \"core/plan/plan.hpp\"

namespace hyperhost {
std::string_view plan_schema_text() {
  return R\"schema(${text})schema\";
}
}  // namespace hyperhost
")
