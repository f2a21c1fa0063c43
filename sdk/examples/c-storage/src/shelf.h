/* SPDX-License-Identifier: Apache-2.0
 * What the parts of this plugin share. No JSON is parsed or printed here: requests are read and
 * answers built with the document calls of the host. */
#ifndef SHELF_H
#define SHELF_H

#include <hyper/hyper.h>
#include <stddef.h>

/* The host's table, set by start(). Any thread. */
extern const hyper_host* shelf_host;

/* --- document.c --- */

/* Reports and returns `code`; error_number 0 = none. what: one sentence; name: of what, or NULL. */
hyper_st shelf_fail(hyper_op* op, hyper_st code, const char* what, const char* name,
                    int error_number);
/* HYPER_UNSUPPORTED, reported, where a call has a flag: this plugin knows none. */
hyper_st shelf_flags(hyper_op* op, uint32_t flags);
/* The text at a pointer; NULL where there is none. Valid as long as the document. */
const char* shelf_text(const hyper_doc* doc, const char* pointer);
int shelf_true(const hyper_doc* doc, const char* pointer);
/* HYPER_UNSUPPORTED, reported, where the document names a member that must be understood and is
 * none of `known` (ends in NULL). */
hyper_st shelf_understood(hyper_op* op, const hyper_doc* doc, const char* const* known);
/* Writes into an answer; failures show when it is emitted. */
void shelf_set_text(hyper_doc* doc, const char* pointer, const char* text);
void shelf_set_number(hyper_doc* doc, const char* pointer, uint64_t number);
/* Emits the answer and frees it. NULL: no memory. */
hyper_st shelf_emit(hyper_op* op, hyper_doc* doc, hyper_emit emit, void* arg);

/* --- object.c --- */

/* a/b as new memory; NULL: no memory. */
char* shelf_join(const char* a, const char* b);
/* A file as a source of `length` bytes. */
hyper_st shelf_open_file(hyper_op* op, const char* path, uint64_t length, hyper_source* out);
/* A new object: written beside its place, named by commit(). */
hyper_st shelf_new_object(hyper_op* op, const char* root, const char* target, int overwrite,
                          hyper_sink* out);

#endif
