// SPDX-License-Identifier: Apache-2.0
// What a worker gives up whose plugin works on guests: the network of the host, and the user root.
// A guest's programs and its kernel are hostile; what escapes from its machine is in this process.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace hyperhost::isolation {

/// The user that a worker of root becomes.
struct WorkerUser {
  uid_t user = 0;
  gid_t group = 0;
  std::vector<gid_t> groups;  ///< further ones: kvm, where that group may open /dev/kvm
};

struct Confinement {
  bool wanted = false;
  bool required = false;           ///< what this system does not allow is an error, no warning
  std::optional<WorkerUser> user;  ///< nothing: the worker stays what it is
};

/// Of a run by root: the user of that name. Nothing for a run by another user, and for "root".
/// Throws Error if there is no such user.
std::optional<WorkerUser> worker_user(const std::string& name);

/// Whether the user may go through every directory of the path, by their modes.
bool may_enter(const std::string& directory, uid_t user);

/// The arguments of `hyperhost plugins serve` that carry it, and back.
std::vector<std::string> arguments_of(const Confinement& confinement);
Confinement confinement_of(bool wanted, const std::string& user);

/// Gives up the network and the user. Call it in the worker while it has one thread. Returns what
/// this system did not allow, one text each; empty = all is given up.
std::vector<std::string> confine(const Confinement& confinement);

}  // namespace hyperhost::isolation
