// SPDX-License-Identifier: Apache-2.0
// What manifests offer: formats, destinations and preference, from honest and hostile manifests;
// and what a destination's parts become.
#include "core/plugin/offers.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/plan/destination_url.hpp"
#include "core/plugin/format_catalog.hpp"
#include "core/plugin/registry.hpp"
#include "core/run/bind_destination.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json manifest(const json& more) {
  json out = {{"id", "acme"},
              {"version", "1.0.0"},
              {"interfaces", {"hyper.image/1", "hyper.converter/1", "hyper.storage/1"}}};
  out.update(more);
  return out;
}

std::string problem(const json& more) {
  const std::string found = PluginRegistry::manifest_problem(manifest(more));
  Offers offers;
  EXPECT_EQ(read_offers(manifest(more), offers), found);
  if (!found.empty()) {
    EXPECT_FALSE(offers.formats);
    EXPECT_TRUE(offers.destinations.empty());
  }
  return found;
}

json format(const json& more) {
  json one = {{"name", "x"}, {"read", true}};
  one.update(more);
  return {{"formats", {one}}};
}

TEST(Offers, OfAnHonestManifest) {
  Offers offers;
  ASSERT_EQ(
      read_offers(
          manifest({{"formats",
                     {{{"name", "vhd"},
                       {"aliases", {"vpc"}},
                       {"read", true},
                       {"extensions", {".vhd", ".vpc"}},
                       {"signatures", {{{"hex", "00ff"}}, {{"offset", -512}, {"hex", "636f"}}}}},
                      {{"name", "raw"}, {"write", true}}}},
                    {"destinations", {{{"scheme", "x"}, {"host", "/a"}, {"path", "/b/c"}}}},
                    {"preference", {{"hyper.image/1", 7}}}}),
          offers),
      "");
  const ImageFormat* vhd = offers.format("vpc");
  ASSERT_NE(vhd, nullptr);
  EXPECT_EQ(vhd->name, "vhd");
  EXPECT_THAT(vhd->extensions, ElementsAre(".vhd", ".vpc"));
  ASSERT_EQ(vhd->signatures.size(), 2u);
  EXPECT_EQ(vhd->signatures[0].bytes, std::string("\x00\xff", 2));
  EXPECT_EQ(vhd->signatures[1].offset, -512);
  EXPECT_EQ(offers.reads("vhd"), true);
  EXPECT_EQ(offers.writes("vhd"), false);
  EXPECT_EQ(offers.writes("raw"), true);
  EXPECT_EQ(offers.reads("nosuch"), false);
  EXPECT_THAT(offers.format("raw")->extensions, ElementsAre(".raw"));
  EXPECT_EQ(offers.destination("x")->form, "x://HOST/PATH");
  EXPECT_EQ(offers.destination("y"), nullptr);
  EXPECT_EQ(offers.preference_of("hyper.image/1"), 7);
  EXPECT_EQ(offers.preference_of("hyper.storage/1"), 0);
}

TEST(Offers, AManifestThatSaysNothingLeavesItOpen) {
  Offers offers;
  ASSERT_EQ(read_offers(manifest(json::object()), offers), "");
  EXPECT_EQ(offers.reads("qcow2"), std::nullopt);
  EXPECT_EQ(offers.writes("qcow2"), std::nullopt);
  ASSERT_EQ(read_offers(manifest({{"formats", json::array()}}), offers), "");
  EXPECT_EQ(offers.reads("qcow2"), false);
}

TEST(Offers, HostileFormatsAreRefusedWithTheirPlace) {
  EXPECT_THAT(problem({{"formats", "qcow2"}}), HasSubstr("formats is not a list"));
  EXPECT_THAT(problem({{"formats", {7}}}), HasSubstr("formats/0 is not an object"));
  EXPECT_THAT(problem({{"formats", json(std::vector<int>(65))}}), HasSubstr("more than 64"));
  EXPECT_THAT(problem({{"formats", {{{"read", true}}}}}), HasSubstr("formats/0 has no name"));
  for (const char* name : {"", "UPPER", "../x", "a/b", "a.b", "sixteencharacter", "a b"})
    EXPECT_THAT(problem(format({{"name", name}})), HasSubstr("formats/0/name")) << name;
  EXPECT_THAT(problem(format({{"name", std::string(1 << 20, 'a')}})), HasSubstr("formats/0/name"));
  EXPECT_THAT(problem(format({{"read", 1}})), HasSubstr("formats/0/read is not true or false"));
  EXPECT_THAT(problem(format({{"read", false}})), HasSubstr("neither read nor written"));
  for (const char* extension : {"vhd", ".", "./x", "..", ".a/b", ".A", ".a\n"})
    EXPECT_THAT(problem(format({{"extensions", {extension}}})), HasSubstr("formats/0/extensions/0"))
        << extension;
  EXPECT_THAT(problem(format({{"extensions", {".a", ".a"}}})), HasSubstr("'.a' a second time"));
  EXPECT_THAT(problem(format({{"aliases", {"x"}}})), HasSubstr("'x' a second time"));
  EXPECT_THAT(
      problem({{"formats", {{{"name", "a"}, {"read", true}}, {{"name", "a"}, {"write", true}}}}}),
      HasSubstr("formats/1 gives the name 'a' a second time"));
}

TEST(Offers, HostileSignaturesAreRefusedWithTheirPlace) {
  const auto with = [](const json& signature) {
    return problem(format({{"signatures", {signature}}}));
  };
  EXPECT_EQ(with({{"hex", std::string(128, 'a')}}), "");
  EXPECT_THAT(with({{"hex", std::string(130, 'a')}}), HasSubstr("formats/0/signatures/0/hex"));
  for (const char* hex : {"", "a", "AB", "zz", "00 "})
    EXPECT_THAT(with({{"hex", hex}}), HasSubstr("formats/0/signatures/0/hex")) << hex;
  EXPECT_THAT(with({{"offset", 0}}), HasSubstr("has no hex"));
  EXPECT_EQ(with({{"offset", 1 << 20}, {"hex", "00"}}), "");
  for (const json& offset : {json((1 << 20) + 1), json(-(1 << 20) - 1), json(UINT64_MAX),
                             json(INT64_MIN), json(0.5), json("0"), json(nullptr)})
    EXPECT_THAT(with({{"offset", offset}, {"hex", "00"}}), HasSubstr("signatures/0/offset"))
        << offset;
  EXPECT_THAT(with({{"offset", -1}, {"hex", "0000"}}), HasSubstr("beyond the end of the file"));
  EXPECT_THAT(problem(format({{"signatures", json(std::vector<int>(17))}})),
              HasSubstr("more than 16"));
}

TEST(Offers, WhatNoInterfaceServesIsRefused) {
  EXPECT_THAT(problem({{"interfaces", {"hyper.storage/1"}},
                       {"formats", {{{"name", "a"}, {"read", true}}}}}),
              HasSubstr("list 'a' as read"));
  EXPECT_THAT(
      problem({{"interfaces", {"hyper.image/1"}}, {"formats", {{{"name", "a"}, {"write", true}}}}}),
      HasSubstr("list 'a' as written"));
  EXPECT_THAT(problem({{"interfaces", {"hyper.image/1"}},
                       {"destinations", {{{"scheme", "a"}, {"host", "/b"}}}}}),
              HasSubstr("destinations need hyper.storage/1"));
}

TEST(Offers, HostileDestinationsAreRefusedWithTheirPlace) {
  const auto with = [](json destination) {
    destination.update(json{{"scheme", destination.value("scheme", json("s"))}});
    return problem({{"destinations", {destination}}});
  };
  EXPECT_EQ(with({{"host", "/a"}}), "");
  for (const json& scheme :
       {json("S3"), json("a:b"), json(""), json("3s"), json(7), json(std::string(40, 'a'))})
    EXPECT_THAT(with({{"scheme", scheme}, {"host", "/a"}}), HasSubstr("destinations/0/scheme"))
        << scheme;
  for (const json& pointer :
       {json("bucket"), json("/a~1b"), json("/a//b"), json(""), json("/a/b/c/d/e"), json(1)})
    EXPECT_THAT(with({{"host", pointer}}), HasSubstr("destinations/0/host")) << pointer;
  EXPECT_THAT(with({{"host", "/a"}, {"path", "/a"}}), HasSubstr("two parts into /a"));
  EXPECT_THAT(with(json::object()), HasSubstr("no part of the URL"));
  EXPECT_THAT(with({{"port", "/a"}}), HasSubstr("a port and no host"));
  EXPECT_THAT(with({{"host", "/a"}, {"form", "other://X"}}), HasSubstr("does not begin with s://"));
  EXPECT_THAT(with({{"host", "/a"}, {"form", "s://\x1b[2J"}}), HasSubstr("printable ASCII"));
  EXPECT_THAT(problem({{"destinations",
                        {{{"scheme", "s"}, {"host", "/a"}}, {{"scheme", "s"}, {"path", "/b"}}}}}),
              HasSubstr("destinations/1 gives the scheme 's' a second time"));
  EXPECT_THAT(problem({{"preference", {{"hyper.image/1", 1001}}}}), HasSubstr("preference"));
  EXPECT_THAT(problem({{"preference", {{"hyper.image/1", "first"}}}}), HasSubstr("preference"));
  EXPECT_THAT(problem({{"preference", 100}}), HasSubstr("preference is not an object"));
}

// --- destinations
// ---------------------------------------------------------------------------------

TEST(DestinationUrl, PartsAsTheyAreWritten) {
  const DestinationUrl url = split_destination("s3://bucket/a%20b/c/");
  EXPECT_EQ(url.scheme, "s3");
  EXPECT_EQ(url.host, "bucket");
  EXPECT_EQ(url.port, "");
  EXPECT_EQ(url.path, "/a%20b/c/");
  EXPECT_EQ(split_destination("file:///srv/x").path, "/srv/x");
  EXPECT_EQ(split_destination("file:///srv/x").host, "");
  EXPECT_EQ(split_destination("x://[::1]:80").host, "[::1]");
  EXPECT_EQ(split_destination("x://h:65535/").port, "65535");
}

TEST(DestinationUrl, WhatNoStorageGetsIsRefused) {
  const auto why = [](const std::string& url) {
    try {
      split_destination(url);
    } catch (const Error& failure) {
      EXPECT_EQ(failure.code(), Code::kConfig);
      return std::string(failure.what());
    }
    return std::string();
  };
  EXPECT_THAT(why("s3://me:hunter2@bucket/x"),
              testing::AllOf(HasSubstr("user or password"), testing::Not(HasSubstr("hunter2"))));
  EXPECT_THAT(why("s3://bucket/x?versioning=1"), HasSubstr("query"));
  EXPECT_THAT(why("s3://bucket?x"), HasSubstr("query"));
  EXPECT_THAT(why("s3://bucket/x#top"), HasSubstr("fragment"));
  EXPECT_THAT(why("bucket/x"), HasSubstr("no scheme"));
  for (const char* url : {"x://h:", "x://h:0", "x://h:65536", "x://h:1x", "x://[::1]x", "x://[::1",
                          "x://h:99999999999"})
    EXPECT_FALSE(why(url).empty()) << url;
  EXPECT_EQ(why("s3://bucket/a@b"), "");
}

class PlaceStorage : public testing::Test {
 protected:
  ConfigValue placed(const std::string& destination, const std::string& plugin = {},
                     const json& options = json::object()) {
    UploadSpec upload;
    upload.destination = destination;
    upload.destination_pointer = "/upload/destination";
    upload.destination_mark = Mark{std::make_shared<const std::string>("plan.yaml"), 7, 3};
    upload.storage = {plugin, ConfigValue::from_json(options, {}), "/upload/storage", {}};
    place_storage(upload, registry_, upload.storage);
    plugin_ = upload.storage.plugin;
    return upload.storage.options;
  }
  std::string refused(const std::string& destination, const std::string& plugin = {},
                      const json& options = json::object()) {
    try {
      placed(destination, plugin, options);
    } catch (const Error& failure) {
      EXPECT_EQ(failure.diagnostic().where, "plan.yaml:7:3");
      EXPECT_EQ(failure.diagnostic().path, "/upload/destination");
      return failure.what();
    }
    return {};
  }
  PluginRegistry registry_{{{TEST_PLUGIN_DIR, "test", true}}};
  std::string plugin_;
};

TEST_F(PlaceStorage, PartsBecomeTheOptionsThatTheManifestNames) {
  EXPECT_EQ(placed("acmefs://vms/2026/web").to_json(),
            json({{"share", "vms"}, {"folder", "2026/web"}}));
  EXPECT_EQ(plugin_, "acme");
  EXPECT_EQ(placed("acmed://vms:99").to_json(),
            json({{"share", "vms"}, {"server", {{"port", 99}}}}));
  EXPECT_EQ(placed("acmefs://vms", "acme", {{"root", "/r"}}).to_json(),
            json({{"share", "vms"}, {"root", "/r"}}));
  EXPECT_EQ(placed("acmefs://vms/a", "", {{"folder", "a"}}).to_json(),
            json({{"share", "vms"}, {"folder", "a"}}));
}

TEST_F(PlaceStorage, APartWithoutAnOptionIsRefused) {
  EXPECT_THAT(refused("acmed://vms/folder"), HasSubstr("the destination has a path, 'folder'"));
  EXPECT_THAT(refused("acmefs://vms:80/x"), HasSubstr("the destination has a port, '80'"));
  EXPECT_THAT(refused("acmefs://vms/x?y=1"), HasSubstr("query"));
}

TEST_F(PlaceStorage, AnOptionThatSaysSomethingElseIsRefused) {
  EXPECT_THAT(refused("acmefs://vms/a", "", {{"folder", "b"}}),
              HasSubstr("path and the storage's option folder contradict"));
}

TEST_F(PlaceStorage, UnknownSchemesNameWhatThereIs) {
  EXPECT_THAT(refused("s3://bucket/x"), testing::AllOf(HasSubstr("no plugin stores to s3://"),
                                                       HasSubstr("acmefs://SHARE/FOLDER")));
  EXPECT_THAT(refused("s3://bucket/x", "acme"),
              testing::AllOf(HasSubstr("'acme' does not store to s3://"),
                             HasSubstr("acmefs://SHARE/FOLDER")));
}

TEST_F(PlaceStorage, APinDecides) {
  registry_.prefer_storage("s3", "acme");
  EXPECT_EQ(registry_.storage_for("s3"), "acme");
}

TEST(FormatCatalog, KnowsWhatThePluginsList) {
  const PluginRegistry registry({{TEST_PLUGIN_DIR, "test", true}});
  const FormatCatalog formats(registry);
  EXPECT_EQ(formats.canonical("acme-1"), "acme");
  EXPECT_EQ(formats.canonical("nosuch"), "nosuch");
  EXPECT_EQ(formats.extension("acme"), ".acme");
  EXPECT_EQ(formats.of_extension(".ACM"), "acme");
  EXPECT_EQ(formats.of_extension(".nosuch"), "");
  EXPECT_TRUE(formats.knows("acme-1"));
  EXPECT_FALSE(formats.is_plain("acme"));
  EXPECT_TRUE(formats.is_plain("raw"));
  EXPECT_EQ(formats.writers("acme").front(), "acme");
  EXPECT_THAT(formats.targets(), testing::Contains("acme"));
  EXPECT_THAT(formats.unknown_target("acne").what(),
              testing::AllOf(HasSubstr("'acne'"), HasSubstr("did you mean 'acme'")));
}

}  // namespace
}  // namespace hyperhost
