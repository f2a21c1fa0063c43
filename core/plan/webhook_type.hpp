// SPDX-License-Identifier: Apache-2.0
// The receivers that webhooks know. Plain values.
#pragma once

namespace hyperhost {

enum class WebhookType { kSlack, kDiscord, kGeneric, kEmail };
/// As plans and metrics spell it: "slack" …
const char* webhook_type_name(WebhookType type);

}  // namespace hyperhost
