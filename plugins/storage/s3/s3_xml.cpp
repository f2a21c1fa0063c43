// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/s3/s3_xml.hpp"

#include <charconv>
#include <pugixml.hpp>
#include <sstream>

namespace hyper::s3 {
namespace {

using object::Part;

Error no_answer(const std::string& what) {
  return Error(HYPER_CORRUPT, "the server's answer is not what S3 says", what)
      .hint("check that the endpoint is an S3 server's");
}

/// The document's root, which must be called `name`.
pugi::xml_node root_of(pugi::xml_document& document, const std::string& text, const char* name) {
  const auto parsed = document.load_buffer(text.data(), text.size());
  const pugi::xml_node root = document.document_element();
  if (!parsed || std::string(root.name()) != name)
    throw no_answer(std::string("no ") + name + (parsed ? "" : ": ") +
                    (parsed ? "" : parsed.description()));
  return root;
}

std::string text_of(const pugi::xml_node& node, const char* name) {
  return node.child(name).text().get();
}

uint64_t number_of(const pugi::xml_node& node, const char* name) {
  const std::string text = text_of(node, name);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    throw no_answer(std::string(name) + " is no number");
  return value;
}

bool truncated(const pugi::xml_node& root) {
  return text_of(root, "IsTruncated") == "true";
}

}  // namespace

S3Error parse_error(const std::string& text) {
  pugi::xml_document document;
  if (!document.load_buffer(text.data(), text.size())) return {};
  const pugi::xml_node root = document.document_element();
  if (std::string(root.name()) != "Error") return {};
  return {text_of(root, "Code"), text_of(root, "Message"), text_of(root, "Region")};
}

ObjectPage parse_objects(const std::string& text) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, text, "ListBucketResult");
  ObjectPage page;
  for (const pugi::xml_node& entry : root.children("Contents")) {
    object::ObjectInfo object;
    object.key = text_of(entry, "Key");
    object.bytes = number_of(entry, "Size");
    object.modified = text_of(entry, "LastModified");
    object.etag = text_of(entry, "ETag");
    page.objects.push_back(std::move(object));
  }
  if (truncated(root)) page.next = text_of(root, "NextContinuationToken");
  return page;
}

PartPage parse_parts(const std::string& text) {
  // Some servers call the root by another name; the upload's id is in each of these answers.
  pugi::xml_document document;
  const bool parsed = document.load_buffer(text.data(), text.size());
  const pugi::xml_node root = document.document_element();
  if (!parsed ||
      (std::string(root.name()) != "ListPartsResult" && text_of(root, "UploadId").empty()))
    throw no_answer("no ListPartsResult");
  PartPage page;
  for (const pugi::xml_node& entry : root.children("Part")) {
    const uint64_t number = number_of(entry, "PartNumber");
    if (number == 0) throw no_answer("a part has the number 0");
    Part part;
    part.bytes = number_of(entry, "Size");
    part.etag = text_of(entry, "ETag");
    part.digest = text_of(entry, "ChecksumSHA256");
    page.parts[number - 1] = std::move(part);
  }
  if (truncated(root)) page.next = text_of(root, "NextPartNumberMarker");
  return page;
}

UploadPage parse_uploads(const std::string& text) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, text, "ListMultipartUploadsResult");
  UploadPage page;
  for (const pugi::xml_node& entry : root.children("Upload"))
    page.uploads.push_back(
        {text_of(entry, "Key"), text_of(entry, "UploadId"), text_of(entry, "Initiated")});
  if (truncated(root)) {
    page.next_key = text_of(root, "NextKeyMarker");
    page.next_id = text_of(root, "NextUploadIdMarker");
  }
  return page;
}

std::string parse_upload_id(const std::string& text) {
  // By its id alone, as other clients do: some servers call the root by another name.
  pugi::xml_document document;
  const auto parsed = document.load_buffer(text.data(), text.size());
  std::string id = parsed ? text_of(document.document_element(), "UploadId") : std::string();
  if (id.empty()) throw no_answer("an upload without an id");
  return id;
}

PartCopy parse_part_copy(const std::string& text) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, text, "CopyPartResult");
  return {text_of(root, "ETag"), text_of(root, "ChecksumSHA256")};
}

std::pair<std::string, std::string> parse_completed(const std::string& text) {
  pugi::xml_document document;
  const pugi::xml_node root = root_of(document, text, "CompleteMultipartUploadResult");
  return {text_of(root, "ETag"), text_of(root, "ChecksumSHA256")};
}

std::string complete_request(const object::Parts& parts, bool checksums) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("CompleteMultipartUpload");
  root.append_attribute("xmlns") = "http://s3.amazonaws.com/doc/2006-03-01/";
  for (const auto& [index, part] : parts) {
    pugi::xml_node entry = root.append_child("Part");
    entry.append_child("PartNumber").text().set(std::to_string(index + 1).c_str());
    entry.append_child("ETag").text().set(part.etag.c_str());
    if (checksums && !part.digest.empty())
      entry.append_child("ChecksumSHA256").text().set(part.digest.c_str());
  }
  std::ostringstream out;
  document.save(out, "", pugi::format_raw);
  return out.str();
}

}  // namespace hyper::s3
