// SPDX-License-Identifier: Apache-2.0
// The rooms of the vsphere provider that need no server: what comes from outside is read without
// trust in it.
#include <gtest/gtest.h>

#include "plugins/provider/vsphere/endpoint.hpp"
#include "plugins/provider/vsphere/fault.hpp"
#include "plugins/provider/vsphere/lease.hpp"
#include "plugins/provider/vsphere/login_gate.hpp"
#include "plugins/provider/vsphere/names.hpp"
#include "plugins/provider/vsphere/stream_check.hpp"
#include "plugins/provider/vsphere/vm_info.hpp"
#include "plugins/provider/vsphere/xml.hpp"

namespace hyper::vsphere {
namespace {

TEST(VsphereEndpoint, WhatMayBeWritten) {
  for (const char* text :
       {"vc.example", "https://vc.example", "https://VC.example/", "HTTPS://vc.example",
        "vc.example:443", "https://vc.example:443/sdk", "vc.example/sdk/"})
    EXPECT_EQ(parse_endpoint(text).sdk, "https://vc.example:443/sdk") << text;
  EXPECT_EQ(parse_endpoint("https://[fd00::1]").authority, "[fd00::1]:443");
  EXPECT_EQ(parse_endpoint("[fd00::1]:8443").authority, "[fd00::1]:8443");
  for (const char* text :
       {"", "http://vc.example", "https://", "https://user:pw@vc.example", "vc.example/ui",
        "vc.example:0", "vc.example:65536", "vc.example:x", "vc.example?x", "a b"})
    EXPECT_THROW(parse_endpoint(text), Error) << text;
}

TEST(VsphereXml, TypesByLocalNameWithAnyPrefix) {
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(
      R"(<v:val xmlns:q="i" q:type="v:ManagedObjectReference" type="VirtualMachine">vm-1</v:val>)"));
  const pugi::xml_node node = document.document_element();
  EXPECT_EQ(xsi_type(node), "ManagedObjectReference");
  EXPECT_EQ(ref_in(node).type, "VirtualMachine");
  EXPECT_EQ(ref_in(node).id, "vm-1");
}

TEST(VsphereXml, NumbersThatAreNone) {
  pugi::xml_document document;
  ASSERT_TRUE(
      document.load_string("<a><b>12</b><c>-1</c><d>99999999999999999999</d><e>1x</e><f/></a>"));
  const pugi::xml_node node = document.document_element();
  EXPECT_EQ(number(node, "b"), 12u);
  for (const char* bad : {"c", "d", "e", "f", "missing"}) EXPECT_EQ(number(node, bad), 0u) << bad;
}

TEST(VsphereXml, ArgumentsAreEscaped) {
  Args args;
  args.text("name", "a<b>&\"\x01");
  EXPECT_EQ(args.str(), "<name>a&lt;b&gt;&amp;&quot; </name>");
}

TEST(VsphereXml, TextsOfTheServer) {
  EXPECT_EQ(shown_text("a\nb\x1b[0m\x7f", 100), "a b [0m ");
  EXPECT_EQ(shown_text("session[52ab]x, session[52cd", 100), "session[…]x, session[…");
  EXPECT_EQ(shown_text("aé", 2), "a");
  EXPECT_EQ(valid_utf8("aé€😀"), "aé€😀");
  EXPECT_EQ(valid_utf8("a\xe9"), "a\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xc0\x80"
                       "b"),
            "\xEF\xBF\xBD\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(valid_utf8("\xed\xa0\x80").size(), 9u);  // a surrogate
}

TEST(VsphereNames, EscapesOfTheInventory) {
  EXPECT_EQ(unescaped_name("a%2fb%5cc%25d%zz%"), "a/b\\c%d%zz%");
  EXPECT_EQ(unescaped_name("%252f"), "%2f");
}

TEST(VsphereFault, TheKindDecides) {
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(
      R"(<Fault><faultcode>ServerFaultCode</faultcode><faultstring>Zugriff verweigert</faultstring>
      <detail><NoPermissionFault xmlns:i="x" i:type="NoPermission"><privilegeId>VApp.Export</privilegeId>
      </NoPermissionFault></detail></Fault>)"));
  const Fault fault = soap_fault("cannot export", document.document_element());
  EXPECT_EQ(fault.status(), HYPER_AUTH);
  EXPECT_TRUE(fault.is("NoPermission"));
  EXPECT_NE(fault.detail().find("VApp.Export"), std::string::npos);
  ASSERT_TRUE(document.load_string("<Fault><detail><TaskInProgressFault/></detail></Fault>"));
  EXPECT_TRUE(soap_fault("x", document.document_element()).passing());
  ASSERT_TRUE(document.load_string("<Fault/>"));
  EXPECT_EQ(soap_fault("x", document.document_element()).status(), HYPER_FAIL);
}

TEST(VsphereLogins, OneRefusalStandsForFiveMinutes) {
  std::chrono::steady_clock::time_point now{};
  LoginGate gate([&] { return now; });
  int logins = 0;
  const char* answer = "InvalidLogin";
  const auto try_it = [&](const char* account) {
    gate.pass(account, http::Cancel::never(), [&] {
      ++logins;
      if (answer != nullptr) throw Fault("cannot log in", answer, "");
    });
  };
  for (int i = 0; i < 10; ++i) EXPECT_THROW(try_it("ops"), Fault);
  EXPECT_EQ(logins, 1);
  EXPECT_THROW(try_it("ops, another password"), Fault);
  EXPECT_EQ(logins, 2);
  now += std::chrono::minutes(5);
  answer = nullptr;
  try_it("ops");
  try_it("ops");
  EXPECT_EQ(logins, 4);
  answer = "HostCommunication";  // says nothing of the password
  EXPECT_THROW(try_it("ops"), Fault);
  EXPECT_THROW(try_it("ops"), Fault);
  EXPECT_EQ(logins, 6);
}

TEST(VsphereLease, MayInitializeForTenMinutes) {
  using namespace std::chrono_literals;
  // A host that consolidates a long chain first takes minutes; a minute was not enough.
  for (const auto waited : {0s, 61s, 599s})
    EXPECT_NO_THROW(expect_initializing("initializing", waited, "no lease")) << waited.count();
  const std::tuple<const char*, std::chrono::seconds, const char*> refused[] = {
      {"initializing", 601s, "the lease is initializing"},
      {"done", 0s, "the lease is done"},
      {"", 0s, "the server does not report its state"}};
  for (const auto& [state, waited, why] : refused) {
    try {
      expect_initializing(state, waited, "no lease");
      FAIL() << "waits on: " << state;
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), HYPER_BUSY);
      EXPECT_TRUE(error.is_retryable());
      EXPECT_EQ(error.detail(), why);
    }
  }
}

TEST(VsphereDisks, OverflowingSizesAreNone) {
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(
      R"(<val xmlns:i="x"><D i:type="VirtualDisk"><key>2000</key><capacityInKB>18446744073709551615</capacityInKB>
      </D><D i:type="VirtualCdrom"/></val>)"));
  const auto disks = read_disks(document.document_element());
  ASSERT_EQ(disks.size(), 1u);
  EXPECT_EQ(disks[0].capacity, 0u);
}

std::string stream_of(uint64_t sectors, bool marker) {
  std::string out(4096, 'x');
  out.replace(0, 4, "KDMV");
  for (int i = 0; i < 8; ++i) {
    out[12 + i] = static_cast<char>(sectors >> 8 * i);
    out[56 + i] = '\xff';
  }
  if (marker) out.replace(out.size() - 512, 512, 512, '\0');
  return out;
}

TEST(VsphereStream, HeaderSizeAndEnd) {
  const auto check = [](const std::string& bytes, std::size_t piece) {
    StreamCheck stream("the disk", 1u << 20);
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      stream.feed(std::string_view(bytes).substr(at, piece));
    return stream.finish();
  };
  for (const std::size_t piece : {1u, 100u, 511u, 512u, 513u, 4096u}) {
    EXPECT_EQ(check(stream_of(2048, true), piece).bytes, 4096u) << piece;
    EXPECT_THROW(check(stream_of(2048, false), piece), Error) << piece;
    EXPECT_THROW(check(stream_of(4096, true), piece), Error) << piece;
    EXPECT_THROW(check(stream_of(2048, true).substr(0, 4000), piece), Error) << piece;
    EXPECT_THROW(check(std::string(4096, '\0'), piece), Error) << piece;
  }
  EXPECT_THROW(check("", 1), Error);
  EXPECT_THROW(check("KDMV", 1), Error);
}

TEST(VsphereStream, EndsSomewhere) {
  StreamCheck stream("the disk", 1u << 20);
  const std::string zeros(1u << 20, '\0');
  stream.feed(stream_of(2048, true));
  int pieces = 0;
  EXPECT_THROW(
      {
        for (; pieces < 1000; ++pieces) stream.feed(zeros);
      },
      Error);
  EXPECT_LT(pieces, 70);
}

}  // namespace
}  // namespace hyper::vsphere
