// SPDX-License-Identifier: Apache-2.0
// Reads the JSON answers of Google Cloud Storage. Stateless.
#ifndef HYPERHOST_GCS_GCS_JSON_HPP
#define HYPERHOST_GCS_GCS_JSON_HPP

#include <nlohmann/json.hpp>
#include <string>

#include "plugins/storage/object/service.hpp"

namespace hyper::gcs {

/// A member that is a text or a number, as text; "" if there is none.
std::string text_or_number(const nlohmann::json& document, const char* name);
/// A length. Throws HYPER_CORRUPT if the text is not a number.
uint64_t number(const std::string& text);
/// An object's resource. Throws HYPER_CORRUPT if it has no size.
object::ObjectInfo info_of(const nlohmann::json& document);

}  // namespace hyper::gcs

#endif
