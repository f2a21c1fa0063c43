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

/* Below the root: files that have not their names yet. */
#define SHELF_PARTS ".parts"

/* a/b as new memory; NULL: no memory. */
char* shelf_join(const char* a, const char* b);
/* A file as a source of `length` bytes. */
hyper_st shelf_open_file(hyper_op* op, const char* path, uint64_t length, hyper_source* out);
/* The file of an object without its name yet, as new memory; NULL: no memory. */
char* shelf_part(const char* root, const char* name);
/* A new object: written beside its place, named by commit(). durable: it survives a power cut then.
 */
hyper_st shelf_new_object(hyper_op* op, const char* root, const char* target, int overwrite,
                          int durable, hyper_sink* out);

/* --- journal.c --- */

/* Writes down that the part `name` is about to be made. *entry 0: the host keeps no journal. */
hyper_st shelf_journal_open(hyper_op* op, const char* root, const char* name, uint64_t* entry);
/* There is nothing left to undo. */
void shelf_journal_close(hyper_op* op, uint64_t entry);
/* Removes what an entry names; HYPER_UNSUPPORTED, not reported, where it is of another place. */
hyper_st shelf_undo(hyper_op* op, const char* root, const hyper_doc* entry);

#endif
