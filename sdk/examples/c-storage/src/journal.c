/* SPDX-License-Identifier: Apache-2.0
 * The journal: each file that has not its name yet is written down before it is made, so that what
 * a killed process leaves is found by undo(). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shelf.h"

extern const char hyper_manifest_id[];

static const char kKind[] = "unfinished object";

static const hyper_journal* journal(void) {
  return shelf_host->get_ext == NULL ? NULL : shelf_host->get_ext(HYPER_EXT_JOURNAL);
}

hyper_st shelf_journal_open(hyper_op* op, const char* root, const char* name, uint64_t* entry) {
  const hyper_journal* table = journal();
  hyper_doc* what;
  hyper_st status;
  *entry = 0;
  if (table == NULL) return HYPER_OK;
  what = shelf_host->doc_new();
  if (what == NULL) return shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
  shelf_set_text(what, "/plugin", hyper_manifest_id);
  shelf_set_text(what, "/kind", kKind);
  shelf_set_text(what, "/where", root);
  shelf_set_text(what, "/ref", name);
  status = table->open(op, 0, what, entry);
  shelf_host->doc_free(what);
  return status == HYPER_UNSUPPORTED ? HYPER_OK : status; /* this operation keeps none */
}

void shelf_journal_close(hyper_op* op, uint64_t entry) {
  if (entry != 0) journal()->close(op, 0, entry); /* a failure is reported there */
}

hyper_st shelf_undo(hyper_op* op, const char* root, const hyper_doc* entry) {
  const char* kind = shelf_text(entry, "/kind");
  const char* where = shelf_text(entry, "/where");
  const char* name = shelf_text(entry, "/ref");
  char* path;
  hyper_st status = HYPER_OK;
  if (kind == NULL || strcmp(kind, kKind) != 0 || where == NULL || strcmp(where, root) != 0)
    return HYPER_UNSUPPORTED; /* of another place */
  if (name == NULL || name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
    return shelf_fail(op, HYPER_CORRUPT, "the journal entry names no unfinished object", NULL, 0);
  path = shelf_part(root, name);
  if (path == NULL) return shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
  if (unlink(path) != 0 && errno != ENOENT)
    status = shelf_fail(op, HYPER_IO, "cannot remove", path, errno);
  free(path);
  return status;
}
