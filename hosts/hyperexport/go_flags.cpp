// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperexport/go_flags.hpp"

namespace hyperhost {

std::vector<std::string> with_double_dashes(int argc, const char* const* argv,
                                            const CLI::App& app) {
  std::vector<std::string> arguments;
  bool flags = true;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    flags = flags && argument != "--";
    if (flags && argument.size() > 2 && argument[0] == '-' && argument[1] != '-') {
      const std::string name = argument.substr(1, argument.find('=') - 1);
      if (app.get_option_no_throw("--" + name) != nullptr) argument.insert(0, "-");
    }
    arguments.push_back(std::move(argument));
  }
  return arguments;
}

}  // namespace hyperhost
