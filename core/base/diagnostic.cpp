// SPDX-License-Identifier: Apache-2.0
#include "core/base/diagnostic.hpp"

#include <cerrno>
#include <system_error>

namespace hyperhost {

const char* code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kFail:
      return "fail";
    case Code::kCancelled:
      return "cancelled";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kConfig:
      return "config";
    case Code::kAuth:
      return "auth";
    case Code::kNotFound:
      return "not_found";
    case Code::kIo:
      return "io";
    case Code::kBusy:
      return "busy";
    case Code::kNoSpace:
      return "no_space";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kExists:
      return "exists";
  }
  return "fail";
}

const char* severity_name(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "error";
}

std::string to_string(const Diagnostic& diagnostic) {
  std::string text;
  for (const std::string* part :
       {&diagnostic.where, &diagnostic.path, &diagnostic.summary, &diagnostic.detail}) {
    if (part->empty()) continue;
    if (!text.empty()) text += ": ";
    text += *part;
  }
  if (!diagnostic.hint.empty()) text += " (" + diagnostic.hint + ")";
  return text;
}

Error::Error(Diagnostic diagnostic)
    : std::runtime_error(to_string(diagnostic)), diagnostic_(std::move(diagnostic)) {}

namespace {
Diagnostic make(Code code, std::string summary, std::string detail, std::string hint) {
  Diagnostic diagnostic;
  diagnostic.code = code;
  diagnostic.summary = std::move(summary);
  diagnostic.detail = std::move(detail);
  diagnostic.hint = std::move(hint);
  return diagnostic;
}
}  // namespace

Error::Error(Code code, std::string summary, std::string detail, std::string hint)
    : Error(make(code, std::move(summary), std::move(detail), std::move(hint))) {}

Error errno_error(int error_number, const std::string& what_failed) {
  Code code = Code::kIo;
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      code = Code::kNotFound;
      break;
    case EEXIST:
      code = Code::kExists;
      break;
    case EACCES:
    case EPERM:
      code = Code::kAuth;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::kNoSpace;
      break;
    case EBUSY:
    case EAGAIN:
      code = Code::kBusy;
      break;
    case ECANCELED:
      code = Code::kCancelled;
      break;
    default:
      break;
  }
  Diagnostic diagnostic = make(code, what_failed, std::system_category().message(error_number), {});
  diagnostic.native_code = error_number;
  return Error(std::move(diagnostic));
}

}  // namespace hyperhost
