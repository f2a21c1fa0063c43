/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "shelf.h"

hyper_st shelf_fail(hyper_op* op, hyper_st code, const char* what, const char* name,
                    int error_number) {
  char summary[512];
  hyper_diag diag;
  memset(&diag, 0, sizeof diag);
  if (name != NULL)
    snprintf(summary, sizeof summary, "%s '%.300s'", what, name);
  else
    snprintf(summary, sizeof summary, "%s", what);
  diag.size = sizeof diag;
  diag.severity = HYPER_SEVERITY_ERROR;
  diag.code = code;
  diag.summary = summary;
  diag.detail = error_number == 0 ? NULL : strerror(error_number);
  diag.native_code = error_number;
  return shelf_host->report(op, &diag);
}

hyper_st shelf_flags(hyper_op* op, uint32_t flags) {
  if (flags == 0) return HYPER_OK;
  return shelf_fail(op, HYPER_UNSUPPORTED, "this plugin does not know a flag of the call", NULL, 0);
}

static int value_at(const hyper_doc* doc, const char* pointer, hyper_val* value) {
  memset(value, 0, sizeof *value);
  value->size = sizeof *value;
  return shelf_host->doc_get(doc, pointer, value) == HYPER_OK;
}

const char* shelf_text(const hyper_doc* doc, const char* pointer) {
  hyper_val value;
  return value_at(doc, pointer, &value) && value.type == HYPER_VAL_STRING ? value.str : NULL;
}

int shelf_true(const hyper_doc* doc, const char* pointer) {
  hyper_val value;
  return value_at(doc, pointer, &value) && value.type == HYPER_VAL_BOOL && value.i64 != 0;
}

hyper_st shelf_understood(hyper_op* op, const hyper_doc* doc, const char* const* known) {
  hyper_val list;
  uint64_t i;
  if (!value_at(doc, "/must_understand", &list) || list.type != HYPER_VAL_ARRAY) return HYPER_OK;
  for (i = 0; i < list.len; ++i) {
    char pointer[64];
    const char* member;
    const char* const* one = known;
    snprintf(pointer, sizeof pointer, "/must_understand/%llu", (unsigned long long)i);
    member = shelf_text(doc, pointer);
    while (member != NULL && *one != NULL && strcmp(*one, member) != 0) ++one;
    if (member == NULL || *one == NULL) {
      hyper_diag diag;
      memset(&diag, 0, sizeof diag);
      diag.size = sizeof diag;
      diag.severity = HYPER_SEVERITY_ERROR;
      diag.code = HYPER_UNSUPPORTED;
      diag.summary = "the request has a member that this plugin does not know";
      diag.path = member;
      return shelf_host->report(op, &diag);
    }
  }
  return HYPER_OK;
}

void shelf_set_text(hyper_doc* doc, const char* pointer, const char* text) {
  hyper_val value;
  memset(&value, 0, sizeof value);
  value.size = sizeof value;
  value.type = HYPER_VAL_STRING;
  value.str = text;
  value.len = strlen(text);
  shelf_host->doc_set(doc, pointer, &value);
}

void shelf_set_number(hyper_doc* doc, const char* pointer, uint64_t number) {
  hyper_val value;
  memset(&value, 0, sizeof value);
  value.size = sizeof value;
  value.type = HYPER_VAL_INT;
  value.i64 = (int64_t)number;
  shelf_host->doc_set(doc, pointer, &value);
}

hyper_st shelf_emit(hyper_op* op, hyper_doc* doc, hyper_emit emit, void* arg) {
  hyper_st status;
  if (doc == NULL) return shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
  status = emit == NULL ? HYPER_OK : shelf_host->doc_emit(doc, "", emit, arg);
  shelf_host->doc_free(doc);
  return status;
}
