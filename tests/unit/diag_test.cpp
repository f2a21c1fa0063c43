// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cerrno>
#include <system_error>

#include "core/base/diagnostic.hpp"
#include "core/base/exception.hpp"

namespace hyperhost {
namespace {

TEST(Diagnostic, PrintsOnlyWhatIsSet) {
  Diagnostic diagnostic;
  diagnostic.summary = "unknown key 'formt'";
  diagnostic.where = "plan.yaml:3:5";
  diagnostic.hint = "did you mean 'format'?";
  EXPECT_EQ(to_string(diagnostic), "plan.yaml:3:5: unknown key 'formt' (did you mean 'format'?)");
}

TEST(Diagnostic, ErrnoDecidesTheCode) {
  EXPECT_EQ(errno_error(ENOSPC, "write /x").code(), Code::kNoSpace);
  EXPECT_EQ(errno_error(ENOENT, "open /x").code(), Code::kNotFound);
  EXPECT_EQ(errno_error(EIO, "read /x").diagnostic().native_code, EIO);
  EXPECT_STREQ(errno_error(ENOENT, "open /x").what(), "open /x: No such file or directory");
}

TEST(Diagnostic, AThreadThatCannotStartIsNoFaultOfTheProgram) {
  // What std::thread throws where pthread_create gives EAGAIN.
  const std::system_error refused(std::make_error_code(std::errc::resource_unavailable_try_again));
  const Diagnostic threads = error_of(refused).diagnostic();
  EXPECT_EQ(threads.code, Code::kBusy);
  EXPECT_TRUE(threads.retryable);
  EXPECT_NE(threads.summary.find("thread"), std::string::npos);
  EXPECT_NE(threads.hint.find("ulimit -u"), std::string::npos);
  EXPECT_EQ(error_of(std::bad_alloc()).code(), Code::kBusy);
  EXPECT_EQ(error_of(std::runtime_error("x")).diagnostic().summary, "internal error");
  EXPECT_EQ(error_of(Error(Code::kNoSpace, "full")).code(), Code::kNoSpace);
}

}  // namespace
}  // namespace hyperhost
