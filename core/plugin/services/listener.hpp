// SPDX-License-Identifier: Apache-2.0
// The host extension "hyper.listener/draft-1" (sdk/include/hyper/draft/listener.h). Any thread.
#pragma once

namespace hyperhost {

/// A hyper_listener; its processes are those of spawn_table().
const void* listener_table();

}  // namespace hyperhost
