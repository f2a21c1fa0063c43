// SPDX-License-Identifier: Apache-2.0
#include "request.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include <hyper/error.hpp>

#include "codec/deflate.hpp"

namespace hyper::disk {
namespace {

using nlohmann::json;

[[noreturn]] void unsupported(const std::string& what, const std::string& path,
                              const std::string& hint) {
  throw Error(HYPER_UNSUPPORTED, what).hint(hint).at(path);
}

/// A member that is a string; "" where there is none or it is null.
std::string text(const json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return {};
  if (!at->is_string())
    throw Error(HYPER_CONFIG, std::string(key) + " is not a string").at(std::string("/") + key);
  return at->get<std::string>();
}

std::optional<uint64_t> number(const json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return std::nullopt;
  if (!at->is_number_integer() || *at < 0)
    throw Error(HYPER_CONFIG, std::string(key) + " is not a whole number")
        .at(std::string("/") + key);
  return at->get<uint64_t>();
}

void parse_compression(const json& target, bool strict_deflate, Request& request) {
  const std::string name = text(target, "compression");
  const std::string path = "/target/compression";
  if (name.empty() || name == "none")
    request.compression = Compression::kNone;
  else if (name == "zlib")
    request.compression = Compression::kZlib;
  else if (name == "zstd")
    request.compression = Compression::kZstd;
  else if (name == "keep")
    request.compression = Compression::kKeep;
  else
    throw Error(HYPER_CONFIG, "compression is none of none, zlib, zstd, keep", name).at(path);
  const Compression c = request.compression;
  if (c != Compression::kNone && (request.target_format == "raw" || request.target_format == "vhd"))
    unsupported("a " + request.target_format + " image has no compression", path,
                "leave the compression out, or write qcow2");
  if (request.target_format == "vmdk" && (c == Compression::kZstd || c == Compression::kKeep))
    unsupported("a VMDK is compressed with zlib only", path, "write compression: zlib, or none");
  const Packing packing = c == Compression::kZstd ? Packing::kZstd
                          : strict_deflate        ? Packing::kRawDeflate4K
                                                  : Packing::kRawDeflate;
  if (const auto level = number(target, "compression_level")) {
    const LevelRange range = levels(packing);
    if (*level < static_cast<uint64_t>(range.first) || *level > static_cast<uint64_t>(range.last))
      throw Error(
          HYPER_CONFIG, "compression_level is out of range",
          "it goes from " + std::to_string(range.first) + " to " + std::to_string(range.last))
          .at("/target/compression_level");
    request.level = static_cast<int>(*level);
  }
}

void parse_target(const json& target, bool strict_deflate, Request& request) {
  request.target_format = text(target, "format");
  if (request.target_format == "vpc") request.target_format = "vhd";
  request.subformat = text(target, "subformat");
  const std::string& format = request.target_format;
  if (format == "vhd") {
    if (request.subformat.empty()) request.subformat = "dynamic";
    if (request.subformat != "dynamic" && request.subformat != "fixed")
      unsupported("a VHD is dynamic or fixed", "/target/subformat", "write one of the two");
  } else if (format == "vmdk") {
    if (request.subformat.empty()) request.subformat = "streamOptimized";
    if (request.subformat != "streamOptimized")
      unsupported("of VMDK, this plugin writes streamOptimized only", "/target/subformat",
                  "converter qemu-img writes others");
  } else if (format != "raw" && format != "qcow2") {
    unsupported(
        "this plugin writes raw, qcow2, vhd and vmdk (streamOptimized), not '" + format + "'",
        "/target/format", "converter qemu-img also writes vhdx and vdi");
  }
  if (const auto cluster = number(target, "cluster_size")) {
    if (format != "qcow2")
      unsupported("only qcow2 has a cluster size", "/target/cluster_size",
                  "leave the cluster size out, or write qcow2");
    request.cluster_bytes = *cluster;
  }
  const std::string durability = text(target, "durability");
  if (!durability.empty() && durability != "none" && durability != "file")
    throw Error(HYPER_CONFIG, "durability is none of none, file", durability)
        .at("/target/durability");
  const auto deterministic = target.find("deterministic");
  request.durable = durability == "file";
  request.deterministic =
      deterministic != target.end() && deterministic->is_boolean() && deterministic->get<bool>();
  parse_compression(target, strict_deflate, request);
}

}  // namespace

bool Request::source_can(const std::string& access) const {
  return std::find(source_access.begin(), source_access.end(), access) != source_access.end();
}

Request parse_request(const std::string& text_json, bool strict_deflate) {
  const json document = json::parse(text_json, nullptr, false);
  if (!document.is_object()) throw Error(HYPER_CONFIG, "the request is not a JSON object");
  const json none = json::object();
  const auto member = [&](const char* key) -> const json& {
    const auto at = document.find(key);
    return at != document.end() && at->is_object() ? *at : none;
  };
  Request request;
  const json& source = member("source");
  request.source_format = text(source, "format");
  if (request.source_format == "vpc") request.source_format = "vhd";
  request.source_length = number(source, "length");
  if (const auto access = source.find("access"); access != source.end() && access->is_array())
    for (const json& name : *access)
      if (name.is_string()) request.source_access.push_back(name.get<std::string>());
  parse_target(member("target"), strict_deflate, request);
  request.virtual_size = number(document, "virtual_size");
  const auto digest = document.find("digest");
  request.digest = digest != document.end() && digest->is_boolean() && digest->get<bool>();
  const json& checkpoint = member("checkpoint");
  request.checkpoint_bytes = number(checkpoint, "interval_bytes").value_or(0);
  request.checkpoint_ms = number(checkpoint, "interval_ms").value_or(0);
  if (const auto state = checkpoint.find("state"); state != checkpoint.end() && state->is_object())
    request.checkpoint_state = state->dump();
  return request;
}

}  // namespace hyper::disk
