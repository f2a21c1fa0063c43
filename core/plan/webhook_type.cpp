// SPDX-License-Identifier: Apache-2.0
#include "core/plan/webhook_type.hpp"

namespace hyperhost {

const char* webhook_type_name(WebhookType type) {
  switch (type) {
    case WebhookType::kSlack:
      return "slack";
    case WebhookType::kDiscord:
      return "discord";
    case WebhookType::kGeneric:
      return "generic";
    case WebhookType::kEmail:
      return "email";
  }
  return "generic";
}

}  // namespace hyperhost
