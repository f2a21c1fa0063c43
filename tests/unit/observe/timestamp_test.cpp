// SPDX-License-Identifier: Apache-2.0
#include "core/base/timestamp.hpp"

#include <gtest/gtest.h>

namespace hyperhost {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

TEST(Timestamp, FormatsInUtc) {
  const system_clock::time_point time{milliseconds(1767323045678)};
  EXPECT_EQ(format_timestamp(time), "2026-01-02T03:04:05.678Z");
  EXPECT_EQ(format_timestamp(time, 0), "2026-01-02T03:04:05Z");
  EXPECT_EQ(format_timestamp(time, 6), "2026-01-02T03:04:05.678000Z");
  EXPECT_EQ(format_timestamp(system_clock::time_point{milliseconds(-1)}),
            "1969-12-31T23:59:59.999Z");
}

TEST(Timestamp, ReadsWhatItWrote) {
  const system_clock::time_point time{milliseconds(1767323045678)};
  EXPECT_EQ(parse_timestamp(format_timestamp(time, 9)), time);
}

TEST(Timestamp, ReadsOffsetsAndDates) {
  EXPECT_EQ(parse_timestamp("2026-01-02T05:04:05.678+02:00"),
            parse_timestamp("2026-01-02T03:04:05.678Z"));
  EXPECT_EQ(parse_timestamp("2026-01-02"), parse_timestamp("2026-01-02T00:00:00Z"));
}

TEST(Timestamp, RefusesWhatIsNone) {
  for (const char* text : {"", "yesterday", "2026-13-01", "2026-02-30", "2026-01-02T25:00:00Z",
                           "2026-01-02T03:04:05", "2026-01-02T03:04:05.Z", "9999-01-01",
                           "2026-01-02T03:04:05Zx", "2026-01-02T03:04:05+24:00"})
    EXPECT_FALSE(parse_timestamp(text)) << text;
}

}  // namespace
}  // namespace hyperhost
