// SPDX-License-Identifier: Apache-2.0
// The credentials for an Azure storage account: its key, a shared access signature (SAS), or the
// token of a managed identity, fetched again in time. Thread-safe.
#ifndef HYPERHOST_AZURE_AZURE_AUTH_HPP
#define HYPERHOST_AZURE_AZURE_AUTH_HPP

#include <ctime>
#include <mutex>
#include <string>

#include "plugins/http/client.hpp"
#include "plugins/storage/object/sigv4.hpp"

namespace hyper::azure {

using object::Fields;

struct Account {
  std::string name;
  std::string endpoint;   ///< "https://NAME.blob.core.windows.net"; with a path for emulators
  std::string key;        ///< raw bytes; "" = none
  std::string sas;        ///< without '?'; "" = none
  std::string client_id;  ///< of a user-assigned identity; "" = the system's
};

/// From "AccountName=…;AccountKey=…;…". Throws HYPER_CONFIG without showing it.
Account parse_connection_string(const std::string& text);

/// What a request to Blob Storage is signed by.
struct Unsigned {
  std::string method;
  std::string path;  ///< encoded, as sent: with the endpoint's own path
  Fields query;      ///< not encoded
  Fields headers;    ///< x-ms-date and x-ms-version among them
  uint64_t length = 0;
};

/// The value of Authorization by the account's key.
std::string shared_key(const Unsigned& request, const Account& account);

/// The query of a URL whose holder can read the blob, until `until`.
std::string read_sas(const Account& account, const std::string& container, const std::string& key,
                     std::time_t from, std::time_t until);

class ManagedIdentity {
 public:
  explicit ManagedIdentity(std::string client_id);
  /// A bearer token for Azure Storage. Throws HYPER_AUTH.
  std::string token(const http::Cancel& cancel);
  void renew();

 private:
  const std::string client_id_;
  http::Client client_;
  std::mutex mutex_;
  std::string token_;
  std::time_t expires_ = 0;
};

}  // namespace hyper::azure

#endif
