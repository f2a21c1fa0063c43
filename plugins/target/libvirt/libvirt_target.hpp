// SPDX-License-Identifier: Apache-2.0
// hyper.target/draft-1 on libvirt: disks become volumes or stay where they are, and the machine
// becomes a domain that carries the migration's mark in its metadata. Any thread.
#ifndef HYPERHOST_LIBVIRT_TARGET_LIBVIRT_TARGET_HPP
#define HYPERHOST_LIBVIRT_TARGET_LIBVIRT_TARGET_HPP

#include <hyper/draft/target.hpp>
#include <memory>
#include <mutex>
#include <string>

#include "plugins/target/file/machine.hpp"
#include "plugins/target/libvirt/connection.hpp"

namespace hyperhost::libvirt_target {

class LibvirtTarget final : public hyper::TargetConnection {
 public:
  static std::unique_ptr<LibvirtTarget> connect(const hyper::Doc& options, hyper::Op op);

  std::string info(hyper::Op op) override;
  std::string plan(hyper::Op op, const hyper::Doc& request) override;
  std::unique_ptr<hyper::Sink> put_disk(hyper::Op op, const hyper::Doc& request) override;
  std::unique_ptr<hyper::Source> get_disk(hyper::Op op, const std::string& ref) override;
  std::string define(hyper::Op op, const hyper::Doc& request) override;
  void start(hyper::Op op, const hyper::Doc& request) override;
  std::string state(hyper::Op op, const std::string& ref) override;
  void stop(hyper::Op op, const hyper::Doc& request) override;
  void remove(hyper::Op op, const hyper::Doc& request) override;
  void undo(hyper::Op op, const hyper::Doc& entry) override;

 private:
  static Domain machine(virConnect* connection, const std::string& ref);
  /// Why a domain of the machine's name or UUID is in its way; "" = nothing is.
  static std::string in_the_way(virConnect* connection, const file_target::Machine& machine);
  static void remove_machine(virConnect* connection, const std::string& ref);

  /// Connects again where the connection has ended.
  Connection here() const;

  mutable std::mutex mutex_;
  mutable Connection connection_;
  std::string uri_, location_, pool_, type_;
  bool uploads_ = true;
};

}  // namespace hyperhost::libvirt_target

#endif
