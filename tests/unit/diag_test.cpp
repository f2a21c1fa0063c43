// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cerrno>

#include "core/base/diagnostic.hpp"

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

}  // namespace
}  // namespace hyperhost
