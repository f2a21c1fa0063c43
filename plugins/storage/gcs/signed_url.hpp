// SPDX-License-Identifier: Apache-2.0
// A URL of Google Cloud Storage with which anyone can read an object for a time (V4 signing with a
// service account's key). Any thread.
#ifndef HYPERHOST_GCS_SIGNED_URL_HPP
#define HYPERHOST_GCS_SIGNED_URL_HPP

#include <cstdint>
#include <string>

#include "plugins/storage/gcs/google_auth.hpp"

namespace hyper::gcs {

/// Throws HYPER_CONFIG if `auth` has no service account's key. Longer than seven days becomes seven
/// days, which is Google's limit.
std::string signed_url(const GoogleAuth& auth, const std::string& endpoint,
                       const std::string& bucket, const std::string& key, uint64_t seconds);

}  // namespace hyper::gcs

#endif
