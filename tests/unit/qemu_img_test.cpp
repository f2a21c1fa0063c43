// SPDX-License-Identifier: Apache-2.0
// The converter plugin "qemu-img", through its C tables as the host sees them, with the installed
// qemu-img and qemu-nbd, and with sinks of the storage plugin "local".
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <thread>

#include "plugins/converter/qemu-img/qemu_converter.hpp"
#include "plugins/converter/qemu-img/qemu_image.hpp"
#include "plugins/storage/local/local_source.hpp"
#include "plugins/storage/local/local_storage.hpp"
#include "tests/support/qemu_test_host.hpp"

namespace {

using hyperhost::qemu_img::QemuConverter;
using hyperhost::qemu_img::QemuImage;
using hyperhost::storage_local::LocalStorage;
using nlohmann::json;
using test_host::read_file;
using test_host::write_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kDisk = 24u << 20;

/// A range of a file as a provider would hand it out.
class MemberSource final : public hyper::Source {
 public:
  MemberSource(std::string path, uint64_t offset, uint64_t length)
      : range_{std::move(path), offset, length} {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_FILE;
    traits.length = range_.length;
    return traits;
  }
  hyper::FileRange locate(hyper::Op) override { return range_; }

 private:
  hyper::FileRange range_;
};

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}
int shell(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str());
}

/// Data, zeros and a hole, of whole clusters and less.
std::string pattern() {
  std::string bytes(kDisk, '\0');
  std::mt19937_64 random(7);
  const auto fill = [&](std::size_t from, std::size_t len) {
    for (std::size_t i = from; i < from + len; ++i) bytes[i] = static_cast<char>(random());
  };
  fill(0, 3'000'000);
  fill(9'000'448, 70'000);
  fill(kDisk - (4u << 20), 4u << 20);
  return bytes;
}

class QemuImgTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    installed_ = shell("(qemu-img --version && qemu-nbd --version)") == 0;
  }

  void SetUp() override {
    if (!installed_) SKIP_OR_FAIL("qemu-img or qemu-nbd is not installed (package qemu-utils)");
    std::filesystem::create_directory(directory_ / "out");
    open({});
  }
  void TearDown() override {
    if (converter_ != nullptr) table_->close(converter_, nullptr);
  }

  void open(const json& options) {
    if (converter_ != nullptr) table_->close(converter_, nullptr);
    converter_ = nullptr;
    const test_host::Options held(options);
    ASSERT_EQ(HYPER_OK, table_->open(operation_.raw(), 0, held.raw(), &converter_))
        << operation_.text();
  }

  /// The disk as a raw file, made once a test.
  std::string raw() {
    const std::string path = directory_ / "disk.raw";
    if (!std::filesystem::exists(path)) write_file(path, disk_);
    return path;
  }
  std::string image(const std::string& format, const std::string& options = "") {
    if (format == "raw") return raw();
    const std::string path = directory_ / ("disk." + format);
    EXPECT_EQ(0, shell("qemu-img convert -f raw -O " + format + " " + options + " " +
                       quoted(raw()) + " " + quoted(path)));
    return path;
  }

  struct OpenSource {
    explicit OpenSource(std::unique_ptr<hyper::Source> source) {
      table.size = sizeof table;
      hyper::export_source(std::move(source), &table);
    }
    ~OpenSource() { table.close(table.ctx, nullptr); }
    hyper_source table{};
  };

  /// Converts a file (or range) into out/<key>; the JSON result is in result_.
  hyper_st convert(const std::string& from, json request, const std::string& key = "target",
                   uint64_t offset = 0, uint64_t length = UINT64_MAX) {
    if (length == UINT64_MAX) length = std::filesystem::file_size(from);
    OpenSource source(std::make_unique<MemberSource>(from, offset, length));
    auto storage = LocalStorage(
        hyperhost::storage_local::RootedDirectory((directory_.path() / "out").string()));
    hyper_sink sink{};
    sink.size = sizeof sink;
    const hyper_doc place{{{"key", key}, {"overwrite", true}}}, document{std::move(request)};
    hyper::export_sink(storage.put(operation_.op(), hyper::Doc(&place)), &sink);
    const std::unique_ptr<hyper_sink, void (*)(hyper_sink*)> closing(
        &sink, [](hyper_sink* open_sink) { open_sink->close(open_sink->ctx, nullptr); });
    result_ = json();
    const hyper_st status = table_->convert(
        converter_, operation_.raw(), 0, &document, &source.table, &sink,
        [](void* arg, const char* text, uint64_t len) noexcept -> hyper_st {
          *static_cast<json*>(arg) = json::parse(text, text + len);
          return HYPER_OK;
        },
        &result_);
    if (status != HYPER_OK) return status;
    return sink.commit(sink.ctx, operation_.raw(), 0, result_.at("bytes_written"), nullptr,
                       nullptr);
  }
  static json request(const std::string& from, const std::string& to, json more = {}) {
    json document{{"source", {{"format", from}, {"access", {"file"}}}},
                  {"target", {{"format", to}}},
                  {"digest", false}};
    if (!more.is_null()) document["target"].update(more);
    return document;
  }
  hyper_st plan(const json& document) {
    const hyper_doc request{document};
    result_ = json();
    return table_->plan(
        converter_, operation_.raw(), 0, &request,
        [](void* arg, const char* text, uint64_t len) noexcept -> hyper_st {
          *static_cast<json*>(arg) = json::parse(text, text + len);
          return HYPER_OK;
        },
        &result_);
  }
  void expect_same_disk(const std::string& qemu_format, const std::string& key = "target") {
    EXPECT_EQ(0, shell("qemu-img compare -f raw -F " + qemu_format + " " + quoted(raw()) + " " +
                       quoted((directory_.path() / "out" / key).string())));
  }
  std::vector<std::string> out_names() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / "out"))
      names.push_back(entry.path().filename().string());
    return names;
  }

  inline static bool installed_ = false;
  test_host::TestHost host_;
  test_host::Operation operation_;
  test_host::TemporaryDirectory directory_;
  inline static const std::string disk_ = pattern();
  const hyper_converter* table_ =
      static_cast<const hyper_converter*>(hyper::Converter<QemuConverter>::table());
  const hyper_image* image_table_ =
      static_cast<const hyper_image*>(hyper::Image<QemuImage>::table());
  void* converter_ = nullptr;
  json result_;
};

// --- conversions ---------------------------------------------------------------------------------

struct Row {
  const char *name, *from, *from_options, *to, *qemu_to;
  json target;
};
std::string row_name(const ::testing::TestParamInfo<Row>& info) {
  return info.param.name;
}
std::ostream& operator<<(std::ostream& out, const Row& row) {
  return out << row.name;
}

class Formats : public QemuImgTest, public ::testing::WithParamInterface<Row> {};

TEST_P(Formats, GiveTheSameDisk) {
  const Row& row = GetParam();
  const std::string source = image(row.from, row.from_options);
  const std::string plain = std::string(row.from) == "vpc" ? "vhd" : row.from;
  ASSERT_EQ(HYPER_OK, convert(source, request(plain, row.to, row.target))) << operation_.text();
  expect_same_disk(row.qemu_to);
  EXPECT_EQ(kDisk, result_.at("virtual_size"));
  EXPECT_EQ(std::filesystem::file_size(directory_ / "out/target"), result_.at("bytes_written"));
  EXPECT_THAT(out_names(), ElementsAre("target"));
  EXPECT_THAT(operation_.diags(), IsEmpty());
  uint64_t last = 0;
  for (const auto& [done, total] : operation_.progress_seen()) {
    EXPECT_EQ(kDisk, total);
    EXPECT_LE(last, done);
    last = done;
  }
  EXPECT_EQ(kDisk, last);
}

INSTANTIATE_TEST_SUITE_P(
    Targets, Formats,
    ::testing::Values(
        Row{"raw", "vmdk", "", "raw", "raw", {}},
        Row{"raw_falloc", "vmdk", "", "raw", "raw", {{"preallocation", "falloc"}}},
        Row{"qcow2", "vmdk", "-o subformat=streamOptimized", "qcow2", "qcow2", {}},
        Row{"qcow2_zlib", "raw", "", "qcow2", "qcow2", {{"compression", "zlib"}}},
        Row{"qcow2_zstd", "vmdk", "", "qcow2", "qcow2", {{"compression", "zstd"}}},
        Row{"qcow2_cluster", "raw", "", "qcow2", "qcow2", {{"cluster_size", 2u << 20}}},
        Row{"qcow2_metadata", "raw", "", "qcow2", "qcow2", {{"preallocation", "metadata"}}},
        Row{"qcow2_deterministic", "raw", "", "qcow2", "qcow2", {{"deterministic", true}}},
        Row{"vdi", "qcow2", "", "vdi", "vdi", {}},
        Row{"vdi_static", "qcow2", "", "vdi", "vdi", {{"subformat", "static"}}},
        Row{"vhdx", "vdi", "", "vhdx", "vhdx", {}}, Row{"vhd", "vhdx", "", "vhd", "vpc", {}},
        Row{"vhd_fixed", "vpc", "-o force_size=on", "vhd", "vpc", {{"subformat", "fixed"}}},
        Row{"vmdk", "vpc", "-o force_size=on,subformat=fixed", "vmdk", "vmdk", {}},
        Row{"vmdk_stream", "qcow2", "-c", "vmdk", "vmdk", {{"compression", "zlib"}}}),
    row_name);

TEST_F(QemuImgTest, ReadsAMemberOfAnArchiveInPlace) {
  const std::string stream = read_file(image("vmdk", "-o subformat=streamOptimized"));
  write_file(directory_ / "a.ova",
             std::string(1536, 'h') + stream + std::string(1024, '\0') + std::string(4096, 't'));
  EXPECT_EQ(HYPER_OK,
            convert(directory_ / "a.ova", request("vmdk", "qcow2"), "target", 1536, stream.size()))
      << operation_.text();
  expect_same_disk("qcow2");
}

TEST_F(QemuImgTest, RawMemberOfAnOddLengthIsReadOnlyBeforePadding) {
  write_file(directory_ / "padded", std::string(512, 'h') + std::string(700, 'x') +
                                        std::string(324, '\0') + std::string(512, 't'));
  EXPECT_EQ(HYPER_OK, convert(directory_ / "padded", request("raw", "raw"), "target", 512, 700))
      << operation_.text();
  EXPECT_EQ(std::string(700, 'x') + std::string(324, '\0'), read_file(directory_ / "out/target"));
  write_file(directory_ / "tight", std::string(512, 'h') + std::string(1024, 'x'));
  EXPECT_EQ(HYPER_UNSUPPORTED,
            convert(directory_ / "tight", request("raw", "raw"), "target", 512, 700));
  EXPECT_THAT(operation_.text(), HasSubstr("whole sector"));
}

TEST_F(QemuImgTest, NoNameIsTakenForAnythingElse) {
  for (const std::string name :
       {"a,b=c.vmdk", "json:{}", "nbd:host:1", "-O raw", "dü \"quoted\" 'x' %s $(id) \\.vmdk"}) {
    const std::string path = directory_ / name;
    std::filesystem::copy_file(image("vmdk"), path);
    EXPECT_EQ(HYPER_OK, convert(path, request("vmdk", "qcow2"), name)) << operation_.text();
    EXPECT_EQ(0, shell("cp " + quoted(directory_ / ("out/" + name)) + " " +
                       quoted(directory_ / "out/target")));
    expect_same_disk("qcow2");
  }
}

TEST_F(QemuImgTest, NameThatIsNotUtf8IsOneClearMessage) {
  const std::string path = directory_ / "\xff.vmdk";
  std::filesystem::copy_file(image("vmdk"), path);
  EXPECT_EQ(HYPER_UNSUPPORTED, convert(path, request("vmdk", "qcow2")));
  EXPECT_THAT(operation_.text(), HasSubstr("UTF-8"));
}

TEST_F(QemuImgTest, VmdkNamesItselfNeutrally) {
  ASSERT_EQ(HYPER_OK, convert(raw(), request("raw", "vmdk"), "final.vmdk"));
  const std::string head = read_file(directory_ / "out/final.vmdk").substr(0, 65536);
  EXPECT_THAT(head, HasSubstr("SPARSE \"disk.vmdk\"\n"));
  EXPECT_THAT(head, ::testing::Not(HasSubstr("hyperhost")));
  EXPECT_THAT(head, HasSubstr("ddb.adapterType"));
}

TEST_F(QemuImgTest, DeterministicGivesTheSameBytes) {
  const json wanted = request("raw", "qcow2", {{"deterministic", true}});
  ASSERT_EQ(HYPER_OK, convert(raw(), wanted, "one"));
  ASSERT_EQ(HYPER_OK, convert(raw(), wanted, "two"));
  EXPECT_EQ(read_file(directory_ / "out/one"), read_file(directory_ / "out/two"));
}

TEST_F(QemuImgTest, ContentOfARawDiskIsNotProbed) {
  // A guest that writes a qcow2 header with a backing file into its raw disk gets it back as data.
  const std::string secret = directory_ / "secret";
  write_file(secret, std::string(1 << 20, 's'));
  const std::string trap = directory_ / "trap.qcow2";
  ASSERT_EQ(0, shell("qemu-img create -f qcow2 -F raw -b " + quoted(secret) + " " + quoted(trap)));
  ASSERT_EQ(HYPER_OK, convert(trap, request("raw", "raw"))) << operation_.text();
  EXPECT_EQ(read_file(trap).substr(0, 4096), read_file(directory_ / "out/target").substr(0, 4096));
}

// --- planning ------------------------------------------------------------------------------------

TEST_F(QemuImgTest, PlanSaysWhatItNeeds) {
  ASSERT_EQ(HYPER_OK, plan(request("vmdk", "qcow2")));
  EXPECT_EQ("file", result_.at("source"));
  EXPECT_EQ(json({"path"}), result_.at("sink"));
  EXPECT_EQ(false, result_.at("digest"));
}

TEST_F(QemuImgTest, PlanNamesWhatCannotBeDone) {
  const std::pair<json, const char*> rows[] = {
      {request("vmdk", "qcow2", {{"compression", "keep"}}), "keep"},
      {request("vmdk", "raw", {{"compression", "zlib"}}), "raw with zlib"},
      {request("vmdk", "vmdk", {{"compression", "zstd"}}), "vmdk with zstd"},
      {request("vmdk", "vmdk", {{"subformat", "twoGbMaxExtentSparse"}}), "single file"},
      {request("vmdk", "raw", {{"subformat", "fixed"}}), "subformat fixed"},
      {request("vmdk", "vhdx", {{"cluster_size", 65536}}), "cluster size"},
      {request("vmdk", "vdi", {{"preallocation", "full"}}), "preallocate"},
      {request("vmdk", "vdi", {{"deterministic", true}}), "identifier"},
      {request("vmdk", "qcow2", {{"compression", "zlib"}, {"preallocation", "full"}}),
       "preallocate a compressed"},
      {request("iso", "qcow2"), "format \"iso\""},
      {request("vmdk", "qed"), "format \"qed\""},
      {request("vmdk", "qcow2,backing_file=/etc/shadow"), "format"},
  };
  for (const auto& [document, text] : rows) {
    EXPECT_EQ(HYPER_UNSUPPORTED, plan(document)) << document;
    ASSERT_FALSE(operation_.diags().empty());
    EXPECT_THAT(operation_.diags().back().summary, HasSubstr(text));
  }
  EXPECT_EQ(HYPER_CONFIG, plan(request("vmdk", "qcow2", {{"cluster_size", 65537}})));
  EXPECT_EQ(HYPER_CONFIG, plan(request("vmdk", "qcow2", {{"preallocation", "x,backing_file=y"}})));
  EXPECT_EQ(HYPER_CONFIG, plan(request("vmdk", "qcow2", {{"compression", "lzma"}})));
  EXPECT_EQ(HYPER_CONFIG, plan(json::array()));
}

TEST_F(QemuImgTest, MissingQemuImgIsOneMessageBeforeAnythingStarts) {
  const test_host::Options options(json{{"qemu_img", "no-such-qemu-img"}});
  void* none = nullptr;
  EXPECT_EQ(HYPER_NOTFOUND, table_->open(operation_.raw(), 0, options.raw(), &none));
  ASSERT_EQ(1u, operation_.diags().size());
  EXPECT_EQ("\"no-such-qemu-img\" is not installed", operation_.diags()[0].summary);
  EXPECT_EQ("/qemu_img", operation_.diags()[0].path);
  EXPECT_THAT(operation_.diags()[0].hint, HasSubstr("qemu-utils"));
}

TEST_F(QemuImgTest, TooOldQemuImgIsOneMessage) {
  const std::string old = directory_ / "old-qemu-img";
  write_file(old, "#!/bin/sh\necho 'qemu-img version 5.0.1 (Debian)'\n");
  ASSERT_EQ(0, ::chmod(old.c_str(), 0755));
  const test_host::Options options(json{{"qemu_img", old}});
  void* none = nullptr;
  EXPECT_EQ(HYPER_CONFIG, table_->open(operation_.raw(), 0, options.raw(), &none));
  EXPECT_THAT(operation_.text(), HasSubstr("is version 5.0, and 5.1 or newer is needed"));
}

TEST_F(QemuImgTest, HostThatCannotSpawnIsOneMessage) {
  test_host::TestHost::set_spawn(false);
  const test_host::Options options(json::object());
  void* none = nullptr;
  EXPECT_EQ(HYPER_UNSUPPORTED, table_->open(operation_.raw(), 0, options.raw(), &none));
  EXPECT_THAT(operation_.text(), HasSubstr("hyper.spawn/1"));
}

// --- hostile and damaged sources -----------------------------------------------------------------

class Hostile : public QemuImgTest {
 protected:
  /// Neither converted, nor opened, and nothing of the secret anywhere.
  void expect_refused(const std::string& path, const std::string& format, hyper_st status,
                      const std::string& text) {
    EXPECT_EQ(status, convert(path, QemuImgTest::request(format, "raw")));
    ASSERT_EQ(1u, operation_.diags().size()) << operation_.text();
    EXPECT_THAT(operation_.diags()[0].summary, HasSubstr(text));
    EXPECT_THAT(out_names(), IsEmpty());
    OpenSource source(std::make_unique<MemberSource>(path, 0, std::filesystem::file_size(path)));
    const test_host::Options options(json::object());
    const hyper_doc request{{{"format", format}}};
    hyper_source opened{};
    opened.size = sizeof opened;
    EXPECT_EQ(status, image_table_->open(operation_.raw(), 0, options.raw(), &source.table,
                                         &request, &opened));
  }
  std::string secret() {
    const std::string path = directory_ / "secret";
    write_file(path, std::string(1 << 20, 's'));
    return path;
  }
};

TEST_F(Hostile, BackingFileOfQcow2) {
  const std::string path = directory_ / "trap.qcow2";
  ASSERT_EQ(0,
            shell("qemu-img create -f qcow2 -F raw -b " + quoted(secret()) + " " + quoted(path)));
  expect_refused(path, "qcow2", HYPER_UNSUPPORTED, "names the backing file \"" + secret());
}

TEST_F(Hostile, DataFileOfQcow2) {
  const std::string path = directory_ / "trap.qcow2";
  ASSERT_EQ(0, shell("qemu-img create -f qcow2 -o data_file=" + quoted(secret()) +
                     ",data_file_raw=on " + quoted(path) + " 1M"));
  expect_refused(path, "qcow2", HYPER_UNSUPPORTED, "external file");
}

TEST_F(Hostile, ParentOfVmdk) {
  ASSERT_EQ(0, shell("qemu-img create -f vmdk " + quoted(directory_ / "base.vmdk") + " 1M"));
  const std::string path = directory_ / "trap.vmdk";
  ASSERT_EQ(0, shell("qemu-img create -f vmdk -F vmdk -b " + quoted(directory_ / "base.vmdk") +
                     " " + quoted(path)));
  expect_refused(path, "vmdk", HYPER_UNSUPPORTED, "delta on a parent");
}

class VmdkDescriptorTraps : public Hostile, public ::testing::WithParamInterface<const char*> {};

TEST_P(VmdkDescriptorTraps, AreRefused) {
  std::filesystem::create_symlink(secret(), directory_ / "link");
  std::string extent = GetParam();
  if (const std::size_t at = extent.find("SECRET"); at != std::string::npos)
    extent.replace(at, 6, secret());
  const std::string path = directory_ / "trap.vmdk";
  write_file(path,
             "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
             "createType=\"monolithicFlat\"\n" +
                 extent + "\nddb.adapterType = \"ide\"\n");
  EXPECT_NE(HYPER_OK, convert(path, request("vmdk", "raw")));
  EXPECT_EQ(1u, operation_.diags().size());
  EXPECT_THAT(out_names(), IsEmpty());
  EXPECT_THAT(operation_.text(),
              ::testing::AnyOf(HasSubstr("not a file beside it"), HasSubstr("not followed"),
                               HasSubstr("cannot read"), HasSubstr("without extents"),
                               HasSubstr("no permission")));
}
INSTANTIATE_TEST_SUITE_P(Extents, VmdkDescriptorTraps,
                         ::testing::Values("RW 2048 FLAT \"SECRET\" 0",
                                           "RW 2048 FLAT \"../secret\" 0",
                                           "RW 2048 FLAT \"link\" 0",
                                           "RW 2048 FLAT \"file:secret\" 0",
                                           "RW 2048 FLAT \"json:{}\" 0",
                                           "RW 2048\n FLAT\n \"SECRET\" 0", "RW 2048 FLAT \"\" 0",
                                           "RDONLY 2048 FLAT \"disk.raw\" 0", "RW 2048 ZERO", ""));

TEST_F(Hostile, VmdkDescriptorWithItsExtentBesideIsRead) {
  ASSERT_EQ(0, shell("qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat " +
                     quoted(raw()) + " " + quoted(directory_ / "flat.vmdk")));
  EXPECT_EQ(HYPER_OK, convert(directory_ / "flat.vmdk", request("vmdk", "qcow2")))
      << operation_.text();
  expect_same_disk("qcow2");
  std::filesystem::resize_file(directory_ / "flat-flat.vmdk", kDisk - 512);
  EXPECT_EQ(HYPER_CORRUPT, convert(directory_ / "flat.vmdk", request("vmdk", "qcow2"), "second"));
  EXPECT_THAT(operation_.text(), HasSubstr("shorter than its descriptor says"));
}

TEST_F(Hostile, VmdkHeaderWithoutCapacityThatHidesADescriptor) {
  const std::string path = image("vmdk");
  std::string bytes = read_file(path);
  std::fill_n(bytes.begin() + 12, 8, '\0');
  const std::string text =
      "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
      "createType=\"monolithicFlat\"\nRW 2048 FLAT \"" +
      secret() + "\" 0\n";
  bytes.replace(512, text.size(), text);
  write_file(path, bytes);
  expect_refused(path, "vmdk", HYPER_CORRUPT, "without a capacity");
}

class Truncated : public Hostile,
                  public ::testing::WithParamInterface<std::pair<const char*, const char*>> {};

TEST_P(Truncated, IsOneClearMessage) {
  const auto [format, options] = GetParam();
  const std::string path = image(format, options);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 2'000'000);
  EXPECT_EQ(HYPER_CORRUPT,
            convert(path, request(std::string(format) == "vpc" ? "vhd" : format, "raw")));
  ASSERT_EQ(1u, operation_.diags().size()) << operation_.text();
  EXPECT_THAT(operation_.diags()[0].summary, HasSubstr("truncated"));
  EXPECT_THAT(operation_.diags()[0].summary, HasSubstr(path));
  EXPECT_THAT(out_names(), IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(Images, Truncated,
                         ::testing::Values(std::pair("vmdk", ""),
                                           std::pair("vmdk", "-o subformat=streamOptimized"),
                                           std::pair("qcow2", ""), std::pair("qcow2", "-c"),
                                           std::pair("vdi", ""), std::pair("vhdx", ""),
                                           std::pair("vpc", ""),
                                           std::pair("vpc", "-o subformat=fixed")));

// QEMU reads zeros for what is missing of the last cluster, and says nothing.
TEST_F(Hostile, Qcow2CutWithinItsLastClusterIsTruncatedAndAWholeOneIsNot) {
  std::mt19937_64 random(5);
  unsigned cut = 0;
  for (const uint64_t size : {uint64_t{3 << 20}, uint64_t{(3 << 20) + 1536}, uint64_t{66048}}) {
    std::string bytes(size, 'x');
    for (std::size_t i = 0; i < size; i += 1 + random() % 3) bytes[i] = static_cast<char>(random());
    const std::string source = directory_ / "source.raw", path = directory_ / "cut.qcow2";
    write_file(source, bytes);
    for (const std::string options :
         {"-o cluster_size=64k", "-o cluster_size=2M", "-o cluster_size=512", "-o compat=0.10",
          "-o extended_l2=on,cluster_size=128k", "-o preallocation=metadata",
          "-o preallocation=falloc", "-o preallocation=full", "-o lazy_refcounts=on", "-c",
          "-c -o cluster_size=2M", "-c -o compression_type=zstd", "-W",
          "-c -o extended_l2=on,cluster_size=16k"}) {
      SCOPED_TRACE(options + " " + std::to_string(size));
      ASSERT_EQ(0, shell("qemu-img convert -f raw -O qcow2 " + options + " " + quoted(source) +
                         " " + quoted(path)));
      EXPECT_EQ(HYPER_OK, convert(path, request("qcow2", "raw"))) << operation_.text();
      EXPECT_TRUE(bytes == read_file(directory_ / "out/target"));
      // Whatever is cut off, what comes out is the disk or nothing; but qemu-img does not tell
      // where compressed bytes lie.
      const bool compressed = options.rfind("-c", 0) == 0;
      for (const uint64_t less : {uint64_t{512}, uint64_t{5000}, uint64_t{30000}}) {
        std::filesystem::resize_file(path, std::filesystem::file_size(path) - less);
        std::filesystem::remove(directory_ / "out/target");
        if (convert(path, request("qcow2", "raw")) != HYPER_OK) {
          ++cut;
        } else {
          EXPECT_TRUE(compressed || bytes == read_file(directory_ / "out/target")) << less;
        }
      }
      std::filesystem::remove(directory_ / "out/target");
    }
  }
  EXPECT_GT(cut, 40u);
}

TEST_F(Hostile, FileThatIsNotWhatItSays) {
  for (const char* format : {"vmdk", "qcow2", "vdi", "vhdx", "vhd"}) {
    EXPECT_EQ(HYPER_CORRUPT, convert(raw(), request(format, "raw"))) << format;
    EXPECT_THAT(operation_.diags().back().summary, HasSubstr("is not a")) << format;
  }
}

TEST_F(Hostile, AnotherSizeThanAnnounced) {
  json document = request("raw", "qcow2");
  document["virtual_size"] = kDisk + 512;
  EXPECT_EQ(HYPER_CORRUPT, convert(raw(), document));
  EXPECT_THAT(operation_.text(), HasSubstr("are announced"));
}

// --- ends that are not the end -------------------------------------------------------------------

TEST_F(QemuImgTest, CancelStopsIt) {
  operation_.on_progress = [&](uint64_t) { operation_.cancel(); };
  EXPECT_EQ(HYPER_CANCELLED, convert(raw(), request("raw", "qcow2", {{"compression", "zlib"}})));
  EXPECT_THAT(out_names(), IsEmpty());
  EXPECT_THAT(operation_.diags(), IsEmpty());
}

TEST_F(QemuImgTest, KilledQemuImgIsOneClearMessage) {
  std::atomic<bool> killed{false};
  operation_.on_progress = [&](uint64_t done) {
    if (done > 0 && test_host::TestHost::child() > 0 && !killed.exchange(true))
      ::kill(test_host::TestHost::child(), SIGKILL);
  };
  EXPECT_EQ(HYPER_FAIL, convert(raw(), request("raw", "qcow2", {{"compression", "zlib"}})));
  ASSERT_EQ(1u, operation_.diags().size());
  EXPECT_THAT(operation_.diags()[0].summary, HasSubstr("qemu-img was killed by signal 9"));
  EXPECT_TRUE(operation_.diags()[0].retryable);
  EXPECT_THAT(out_names(), IsEmpty());
}

TEST_F(QemuImgTest, FullFileSystemIsOneClearMessage) {
  const std::string out = directory_ / "out";
  if (::mount("tmpfs", out.c_str(), "tmpfs", 0, "size=2m") != 0)
    SKIP_OR_FAIL("mounting a small tmpfs needs root");
  const std::string source = raw();
  EXPECT_EQ(HYPER_NOSPACE, convert(source, request("raw", "qcow2")));
  EXPECT_THAT(out_names(), IsEmpty());
  ::umount(out.c_str());
  ASSERT_EQ(1u, operation_.diags().size());
  EXPECT_THAT(operation_.diags()[0].summary, HasSubstr("no space left"));
}

// --- the image reader ----------------------------------------------------------------------------

class Reader : public QemuImgTest {
 protected:
  hyper_st open_image(const std::string& path, hyper::OwnedSource& out, uint64_t offset = 0,
                      uint64_t length = UINT64_MAX) {
    if (length == UINT64_MAX) length = std::filesystem::file_size(path);
    file_ = std::make_unique<OpenSource>(std::make_unique<MemberSource>(path, offset, length));
    const test_host::Options options(json::object());
    return image_table_->open(operation_.raw(), 0, options.raw(), &file_->table, nullptr,
                              out.out());
  }
  json probe(const std::string& path) {
    OpenSource source(std::make_unique<MemberSource>(path, 0, std::filesystem::file_size(path)));
    const test_host::Options options(json::object());
    json found;
    const hyper_st status = image_table_->probe(
        operation_.raw(), 0, options.raw(), &source.table,
        [](void* arg, const char* text, uint64_t len) noexcept -> hyper_st {
          *static_cast<json*>(arg) = json::parse(text, text + len);
          return HYPER_OK;
        },
        &found);
    EXPECT_EQ(found.is_null() ? HYPER_UNSUPPORTED : HYPER_OK, status);
    return found;
  }
  /// What is left of earlier servers in the directory for temporary files.
  int leftovers() {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path()))
      count += entry.path().filename().string().rfind("hyperhost-nbd-", 0) == 0;
    return count;
  }
  void SetUp() override {
    QemuImgTest::SetUp();
    ::setenv("TMPDIR", directory_.path().c_str(), 1);
  }
  void TearDown() override {
    QemuImgTest::TearDown();
    ::unsetenv("TMPDIR");
  }
  std::unique_ptr<OpenSource> file_;
};

TEST_F(Reader, ProbeGoesByContent) {
  EXPECT_EQ((json{{"format", "vmdk"}, {"virtual_size", kDisk}, {"subformat", "streamOptimized"}}),
            probe(image("vmdk", "-o subformat=streamOptimized")));
  EXPECT_EQ((json{{"format", "qcow2"}, {"virtual_size", kDisk}}), probe(image("qcow2")));
  EXPECT_EQ((json{{"format", "vdi"}, {"virtual_size", kDisk}}), probe(image("vdi")));
  EXPECT_EQ((json{{"format", "vhdx"}, {"virtual_size", kDisk}}), probe(image("vhdx")));
  EXPECT_EQ((json{{"format", "vhd"}, {"virtual_size", kDisk}}),
            probe(image("vpc", "-o force_size=on")));
  EXPECT_TRUE(probe(raw()).is_null());
  EXPECT_THAT(operation_.diags(), IsEmpty());
}

TEST_F(Reader, EqualsTheRawDiskFromManyThreadsAndOddOffsets) {
  for (const char* format : {"vmdk", "qcow2", "vdi", "vhdx", "raw"}) {
    hyper::OwnedSource source;
    ASSERT_EQ(HYPER_OK, open_image(image(format), source)) << operation_.text();
    ASSERT_EQ(kDisk, source.length());
    std::vector<std::jthread> threads;
    for (uint64_t worker = 0; worker < source.max_parallel(); ++worker)
      threads.emplace_back([&, worker] {
        std::string bytes(1'000'003, '?');
        for (uint64_t at = worker * bytes.size(); at < kDisk;
             at += bytes.size() * source.max_parallel()) {
          const uint64_t len = std::min<uint64_t>(bytes.size(), kDisk - at);
          ASSERT_EQ(HYPER_OK, source.raw()->read_at(source.raw()->ctx, operation_.raw(), 0, at,
                                                    bytes.data(), len))
              << operation_.text();
          EXPECT_EQ(0, disk_.compare(at, len, bytes, 0, len)) << format << " at " << at;
        }
      });
  }
  EXPECT_THAT(operation_.diags(), IsEmpty());
  EXPECT_EQ(0, leftovers());
}

TEST_F(Reader, ExtentsCoverTheDiskAndZerosAreZeros) {
  for (const char* format : {"vmdk", "qcow2", "vdi", "vhdx"}) {
    hyper::OwnedSource source;
    ASSERT_EQ(HYPER_OK, open_image(image(format), source)) << operation_.text();
    const uint64_t from = 4097, len = kDisk - 9999;
    uint64_t at = from, zeros = 0;
    source.extents(operation_.op(), from, len, [&](const hyper_extent& extent) {
      EXPECT_EQ(at, extent.offset);
      at += extent.length;
      if ((extent.flags & HYPER_EXTENT_ZERO) == 0) return;
      zeros += extent.length;
      EXPECT_EQ(std::string::npos,
                disk_.substr(extent.offset, extent.length).find_first_not_of('\0'))
          << format << " at " << extent.offset;
    });
    EXPECT_EQ(from + len, at);
    if (std::string(format) != "vhdx") {  // QEMU's driver calls all of a VHDX data
      EXPECT_GT(zeros, kDisk / 4) << format;
    }
  }
}

TEST_F(Reader, ReadsAMemberInPlace) {
  const std::string stream = read_file(image("vmdk", "-o subformat=streamOptimized"));
  write_file(directory_ / "a.ova", std::string(512, 'h') + stream + std::string(1024, '\0'));
  hyper::OwnedSource source;
  ASSERT_EQ(HYPER_OK, open_image(directory_ / "a.ova", source, 512, stream.size()))
      << operation_.text();
  std::string bytes(kDisk, '?');
  source.read_at(operation_.op(), 0, bytes.data(), bytes.size());
  EXPECT_TRUE(bytes == disk_);
}

TEST_F(Reader, KilledServerIsAnErrorAndNotAHang) {
  hyper::OwnedSource source;
  ASSERT_EQ(HYPER_OK, open_image(image("qcow2"), source));
  ::kill(test_host::TestHost::child(), SIGKILL);
  std::string bytes(1 << 20, '?');
  EXPECT_EQ(HYPER_IO, source.raw()->read_at(source.raw()->ctx, operation_.raw(), 0, 0, bytes.data(),
                                            bytes.size()));
  ASSERT_EQ(1u, operation_.diags().size());
  EXPECT_THAT(operation_.diags()[0].summary, HasSubstr("qemu-nbd"));
}

TEST_F(Reader, ItsServersSocketHasNoNameAndTakesNewConnections) {
  hyper::OwnedSource source;
  ASSERT_EQ(HYPER_OK, open_image(image("qcow2"), source)) << operation_.text();
  EXPECT_EQ(0, leftovers()) << "a kill now would leave it";
  std::vector<std::jthread> threads;  // each over a connection of its own
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      std::string bytes(kDisk, '?');
      source.read_at(operation_.op(), 0, bytes.data(), bytes.size());
      EXPECT_TRUE(bytes == disk_);
    });
}

TEST_F(Reader, ADirectoryForTemporaryFilesThatTakesNoneIsReportedBeforeTheSourceIsRead) {
  ::setenv("TMPDIR", "/proc", 1);
  OpenSource none(std::make_unique<MemberSource>("/absent", 0, 0));
  const test_host::Options options(json::object());
  hyper::OwnedSource source;
  EXPECT_NE(HYPER_OK, image_table_->open(operation_.raw(), 0, options.raw(), &none.table, nullptr,
                                         source.out()));
  EXPECT_THAT(operation_.text(), HasSubstr("TMPDIR"));
  ::setenv("TMPDIR", (directory_ / std::string(150, 'd')).c_str(), 1);
  std::filesystem::create_directory(directory_ / std::string(150, 'd'));
  EXPECT_EQ(HYPER_OK, open_image(image("qcow2"), source)) << "a long path will do";
}

TEST_F(Reader, CancelEndsAReadFromAStoppedServer) {
  hyper::OwnedSource source;
  ASSERT_EQ(HYPER_OK, open_image(image("qcow2"), source));
  ::kill(test_host::TestHost::child(), SIGSTOP);
  std::string bytes(1 << 20, '?');
  {
    const std::jthread canceller([&] { operation_.cancel(); });
    EXPECT_EQ(HYPER_CANCELLED, source.raw()->read_at(source.raw()->ctx, operation_.raw(), 0, 0,
                                                     bytes.data(), bytes.size()));
  }
  ::kill(test_host::TestHost::child(), SIGCONT);
}

TEST_F(Reader, OpenThatIsCancelledLeavesNothing) {
  operation_.cancel();
  hyper::OwnedSource source;
  EXPECT_EQ(HYPER_CANCELLED, open_image(image("qcow2"), source));
  EXPECT_EQ(0, leftovers());
  EXPECT_EQ(0, test_host::TestHost::child());
}

TEST_F(Reader, ServerThatDoesNotStartIsOneMessageAndLeavesNothing) {
  const std::string broken = directory_ / "qemu-nbd";
  write_file(broken,
             "#!/bin/sh\n[ \"$1\" = --version ] && echo qemu-nbd 7.2.0 && exit 0\nexit 1\n");
  ASSERT_EQ(0, ::chmod(broken.c_str(), 0755));
  const std::string path = image("qcow2");
  OpenSource file(std::make_unique<MemberSource>(path, 0, std::filesystem::file_size(path)));
  const test_host::Options options(json{{"qemu_nbd", broken}});
  hyper::OwnedSource source;
  EXPECT_EQ(HYPER_FAIL, image_table_->open(operation_.raw(), 0, options.raw(), &file.table, nullptr,
                                           source.out()));
  EXPECT_THAT(operation_.text(), HasSubstr("qemu-nbd ended before it served"));
  EXPECT_TRUE(operation_.diags().front().retryable) << "it may have been killed";
  EXPECT_EQ(0, leftovers());
}

}  // namespace
