// SPDX-License-Identifier: Apache-2.0
// A vSphere server's answers, from the first on. An input that begins with "+" is what follows a
// login that went well.
#include "plugins/provider/vsphere/names.hpp"
#include "plugins/provider/vsphere/properties.hpp"
#include "plugins/provider/vsphere/vm_info.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/loopback.hpp"

namespace {

constexpr const char* kLogin =
    "200\n\n<namespaces><namespace><name>urn:vim25</name><version>7.0</version></namespace></"
    "namespaces>\n%%\n"
    "200\n\n<e:Envelope xmlns:e='x'><e:Body><RetrieveServiceContentResponse><returnval>"
    "<rootFolder type='Folder'>group-d1</rootFolder><propertyCollector "
    "type='PropertyCollector'>pc</propertyCollector>"
    "<viewManager type='ViewManager'>vm</viewManager><sessionManager "
    "type='SessionManager'>sm</sessionManager>"
    "</returnval></RetrieveServiceContentResponse></e:Body></e:Envelope>\n%%\n"
    "200\nSet-Cookie: vmware_soap_session=\"x\"; Path=/\n\n"
    "<e:Envelope "
    "xmlns:e='x'><e:Body><LoginResponse><returnval><key>k</key></returnval></LoginResponse></"
    "e:Body>"
    "</e:Envelope>\n%%\n";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace hyper::vsphere;
  fuzz::op();
  fuzz::LoopbackServer& server = fuzz::LoopbackServer::instance();
  std::string answers(fuzz::text_of(data, size));
  if (!answers.empty() && answers.front() == '+') answers = kLogin + answers.substr(1);
  server.answer_with(answers);
  Settings settings;
  settings.endpoint.authority = "fuzz";
  settings.endpoint.sdk = server.url() + "/sdk";
  // An account whose login was refused is not tried again: each input has its own.
  static uint64_t inputs = 0;
  settings.username = std::to_string(++inputs);
  settings.http = server.settings();
  fuzz::accepts([&] {
    Session session(settings, fuzz::op());
    const auto cancel = hyper::http::Cancel::never();
    Names names(session);
    fuzz::accepts([&] { read_vm(session, names, {"VirtualMachine", "vm-1"}, cancel); });
    fuzz::accepts([&] {
      retrieve_all(session, {{"VirtualMachine", {"name"}}}, "cannot list", cancel,
                   [](const Object& object) { object.required("name", "cannot list"); });
    });
  });
  return 0;
}
