// SPDX-License-Identifier: Apache-2.0
// What a failed answer of an S3 server means: the status, whether a retry helps, and what to do.
// Stateless.
#ifndef HYPERHOST_S3_S3_ERROR_HPP
#define HYPERHOST_S3_S3_ERROR_HPP

#include <string>

#include "plugins/http/client.hpp"

namespace hyper::s3 {

struct Failure {
  Error error;
  bool credentials_expired = false;  ///< new ones are needed before a retry
};

/// what: "cannot write s3://b/k". region: the one that the requests are signed for.
Failure failure_of(const std::string& what, const http::Response& answer,
                   const std::string& region);

}  // namespace hyper::s3

#endif
