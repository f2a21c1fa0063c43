# SPDX-License-Identifier: Apache-2.0
# cmake -DINPUT=sdk/templates -DOUTPUT=plugin_templates.cpp -P embed_templates.cmake
file(GLOB_RECURSE files RELATIVE ${INPUT} ${INPUT}/*)
list(SORT files)
set(entries "")
foreach(file IN LISTS files)
  file(READ ${INPUT}/${file} text)
  string(APPEND entries "      {\"${file}\", R\"__template__(${text})__template__\"},\n")
endforeach()
file(WRITE ${OUTPUT} "// Made from sdk/templates.
#include \"hosts/hyperhost/plugin_templates.hpp\"

namespace hyperhost {
const std::vector<PluginTemplate>& plugin_templates() {
  static const std::vector<PluginTemplate> all{
${entries}  };
  return all;
}
}  // namespace hyperhost
")
