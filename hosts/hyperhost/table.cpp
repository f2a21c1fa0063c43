// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/table.hpp"

#include <algorithm>
#include <cstdio>

#include "core/base/units.hpp"

namespace hyperhost {
namespace {

/// Columns on a terminal: bytes that do not continue a UTF-8 character.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string format(const char* pattern, double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value, unit);
  return text;
}

}  // namespace

Table::Table(const std::vector<std::string>& headings) {
  std::vector<std::string> first;
  for (const std::string& heading : headings) {
    right_.push_back(heading.rfind('>', 0) == 0);
    first.push_back(right_.back() ? heading.substr(1) : heading);
  }
  rows_.push_back(std::move(first));
}

void Table::row(std::vector<std::string> cells) {
  for (std::string& cell : cells)  // what a provider named must not move the cursor
    std::replace_if(
        cell.begin(), cell.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  cells.resize(right_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths(right_.size(), 0);
  for (const auto& cells : rows_)
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], width(cells[i]));
  std::string out;
  for (const auto& cells : rows_) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string fill(widths[i] - width(cells[i]), ' ');
      line += (i == 0 ? "" : "  ") + (right_[i] ? fill + cells[i] : cells[i] + fill);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string human_bytes(uint64_t bytes) {
  return bytes_text(bytes);
}

std::string human_duration(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 1) return format("%.0f %s", seconds * 1000, "ms");
  if (seconds < 100) return format("%.1f %s", seconds, "s");
  const auto whole = static_cast<long>(seconds);
  char text[64];
  if (whole < 3600)
    std::snprintf(text, sizeof text, "%ld m %02ld s", whole / 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%ld h %02ld m", whole / 3600, whole / 60 % 60);
  return text;
}

std::string human_rate(uint64_t bytes, std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (bytes == 0 || seconds <= 0) return "-";
  return human_bytes(static_cast<uint64_t>(static_cast<double>(bytes) / seconds)) + "/s";
}

}  // namespace hyperhost
