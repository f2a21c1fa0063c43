// SPDX-License-Identifier: Apache-2.0
// AWS credentials, found as the AWS tools find them: the plan's own, the environment, the shared
// files with their profiles, the container's and the instance's metadata.
// Those that expire are fetched again in time. Thread-safe.
#ifndef HYPERHOST_S3_CREDENTIALS_HPP
#define HYPERHOST_S3_CREDENTIALS_HPP

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "plugins/http/client.hpp"
#include "plugins/storage/object/sigv4.hpp"

namespace hyper::s3 {

using object::AwsCredentials;

/// A section of the shared files; absent members are "".
struct Profile {
  std::string access_key, secret_key, session_token, region;
};

/// The profile of that name in the text of ~/.aws/credentials (or, where `config`, ~/.aws/config,
/// whose sections are called "profile NAME"); nothing where it has none.
std::optional<Profile> parse_profile(const std::string& text, const std::string& name, bool config);

class CredentialChain {
 public:
  struct Options {
    AwsCredentials given;  ///< by the plan; used where access_key is not empty
    std::string profile;   ///< "" = AWS_PROFILE, or "default"
    bool anonymous = false;
  };
  explicit CredentialChain(Options options);

  /// Throws HYPER_AUTH with what was tried. access_key is empty for anonymous requests.
  AwsCredentials get(const http::Cancel& cancel);
  /// The server says that they have expired: the next get() fetches others.
  void renew();
  /// Of the environment or the profile; "" where neither says one.
  std::string region() const;

 private:
  std::optional<AwsCredentials> from_environment() const;
  std::optional<AwsCredentials> from_profile() const;
  std::optional<AwsCredentials> from_container(const http::Cancel& cancel);
  std::optional<AwsCredentials> from_instance(const http::Cancel& cancel);
  std::optional<Profile> profile() const;

  const Options options_;
  http::Client client_;
  std::mutex mutex_;
  std::optional<AwsCredentials> current_;
};

}  // namespace hyper::s3

#endif
