// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/conversion_request.hpp"

#include <nlohmann/json.hpp>

#include "plugins/converter/qemu-img/image_header.hpp"

namespace hyperhost::qemu_img {
namespace {

using nlohmann::json;

hyper::Error cannot(const std::string& what) {
  return hyper::Error(HYPER_UNSUPPORTED, "qemu-img cannot " + what);
}

/// What the target is to be, before it becomes arguments.
struct Target {
  std::string format, compression, subformat, preallocation;
  std::optional<uint64_t> cluster_size;
};

void raw_options(const Target& target, std::vector<std::string>& options) {
  if (target.preallocation == "metadata")
    throw cannot("preallocate metadata of a raw image: it has none").at("/preallocation");
  options.push_back("preallocation=" + target.preallocation);
}

void qcow2_options(const Target& target, std::vector<std::string>& options) {
  if (target.compression != "none") {
    if (target.preallocation != "off")
      throw cannot("preallocate a compressed image").at("/preallocation");
    options.push_back("compression_type=" + target.compression);
  }
  options.push_back("preallocation=" + target.preallocation);
  if (target.cluster_size) {
    const uint64_t size = *target.cluster_size;
    if (size < 512 || size > (2u << 20) || (size & (size - 1)) != 0)
      throw hyper::Error(HYPER_CONFIG, "the cluster size " + std::to_string(size) +
                                           " is not a power of two from 512 bytes to 2 MiB");
    options.push_back("cluster_size=" + std::to_string(size));
  }
}

/// Subformats as -o option of the format; throws if it has no such one.
void subformat_option(const Target& target, ConversionRequest& request,
                      std::vector<std::string>& options) {
  struct Choice {
    const char *format, *subformat, *option;
  };
  static constexpr Choice kChoices[] = {
      {"vmdk", "monolithicSparse", "subformat=monolithicSparse"},
      {"vmdk", "streamOptimized", "subformat=streamOptimized"},
      {"vpc", "dynamic", "subformat=dynamic"},
      {"vpc", "fixed", "subformat=fixed"},
      {"vhdx", "dynamic", "subformat=dynamic"},
      {"vhdx", "fixed", "subformat=fixed"},
      {"vdi", "dynamic", "static=off"},
      {"vdi", "static", "static=on"},
  };
  // The first of a format is its usual one; a compressed VMDK is a streamOptimized one.
  std::string wanted = target.subformat;
  if (wanted.empty() && target.format == "vmdk" && target.compression == "zlib")
    wanted = "streamOptimized";
  for (const Choice& choice : kChoices) {
    if (target.format != choice.format || (!wanted.empty() && wanted != choice.subformat)) continue;
    request.subformat = choice.subformat;
    options.emplace_back(choice.option);
    return;
  }
  throw cannot("write " + plain_format(target.format) + " of subformat " + wanted +
               " as a single file")
      .at("/subformat");
}

void check_compression(const Target& target, const ConversionRequest& request) {
  const std::string& kind = target.compression;
  if (kind != "none" && kind != "zlib" && kind != "zstd" && kind != "keep")
    throw hyper::Error(HYPER_CONFIG, "compression is none of none, zlib, zstd and keep");
  if (kind == "none" || (target.format == "qcow2" && kind != "keep")) return;
  if (target.format == "vmdk" && kind == "zlib" && request.subformat == "streamOptimized") return;
  if (kind == "keep")
    throw cannot("keep the source's compressed data as it is").hint("the plugin parallel-disk can");
  throw cannot("write " + plain_format(target.format) + " with " + kind + " compression");
}

void deterministic(const Target& target, ConversionRequest& request) {
  if (target.format != "raw" && target.format != "qcow2")
    throw cannot("write the same " + plain_format(target.format) +
                 " twice: it puts a new random identifier into each");
  request.may_reorder = false;
}

ConversionRequest build(const json& document, const Settings& settings) {
  const json& source = document.at("source");
  const json& wanted = document.at("target");
  ConversionRequest request;

  const std::string source_format = source.value("format", "");
  request.source_format = qemu_format(source_format);
  if (!source_format.empty() && request.source_format.empty())
    throw cannot("be given an image of format \"" + source_format + "\"")
        .hint("formats: raw, qcow2, vmdk, vdi, vhdx, vhd");

  Target target;
  target.format = qemu_format(wanted.at("format").get<std::string>());
  if (target.format.empty())
    throw cannot("write the format \"" + wanted.at("format").get<std::string>() + "\" here")
        .hint("formats: raw, qcow2, vmdk, vdi, vhdx, vhd");
  target.compression = wanted.value("compression", "none");
  target.subformat = wanted.value("subformat", settings.subformat);
  target.preallocation = wanted.value("preallocation", settings.preallocation);
  if (target.preallocation.empty()) target.preallocation = "off";
  bool known = false;
  for (const char* mode : {"off", "metadata", "falloc", "full"})
    known = known || target.preallocation == mode;
  if (!known) throw hyper::Error(HYPER_CONFIG, "unknown preallocation").at("/preallocation");
  if (wanted.contains("cluster_size") && !wanted.at("cluster_size").is_null())
    target.cluster_size = wanted.at("cluster_size").get<uint64_t>();

  std::vector<std::string> options;
  const bool plain = target.format == "raw" || target.format == "qcow2";
  if (target.format == "raw") raw_options(target, options);
  if (target.format == "qcow2") qcow2_options(target, options);
  if (!plain || !target.subformat.empty()) subformat_option(target, request, options);
  check_compression(target, request);
  if (!plain && target.preallocation != "off")
    throw cannot("preallocate " + plain_format(target.format) + " as asked")
        .at("/preallocation")
        .hint("choose the subformat fixed or static instead");
  if (target.cluster_size && target.format != "qcow2")
    throw cannot("choose a cluster size for " + plain_format(target.format) + " here");
  if (target.format == "vpc") options.emplace_back("force_size=on");  // not rounded to a geometry

  request.target_format = target.format;
  request.checkable = target.format != "raw" && target.format != "vpc";
  // The others are written in ascending order: that is what their readers see most.
  request.may_reorder = plain && settings.out_of_order;
  if (wanted.value("deterministic", false)) deterministic(target, request);
  if (wanted.contains("compression_level") && target.compression != "none")
    request.notes.emplace_back("qemu-img has no compression levels; compression_level is ignored");
  if (document.contains("virtual_size") && !document.at("virtual_size").is_null())
    request.virtual_size = document.at("virtual_size").get<uint64_t>();

  if (target.format == "qcow2" && target.compression != "none")
    request.arguments.emplace_back("-c");
  std::string joined;
  for (const std::string& option : options) joined += (joined.empty() ? "" : ",") + option;
  if (!joined.empty()) {
    request.arguments.emplace_back("-o");
    request.arguments.push_back(joined);
  }
  return request;
}

}  // namespace

ConversionRequest parse_request(const std::string& request_json, const Settings& settings) {
  try {
    return build(json::parse(request_json), settings);
  } catch (const json::exception& error) {
    throw hyper::Error(HYPER_CONFIG, "the request to convert is malformed", error.what());
  }
}

}  // namespace hyperhost::qemu_img
