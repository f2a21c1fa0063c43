/* SPDX-License-Identifier: Apache-2.0
 * An object that is read (a source over a file) and one that is written (a sink: a file of its own
 * name until commit() gives it the one it is to have). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shelf.h"

char* shelf_join(const char* a, const char* b) {
  const size_t size = strlen(a) + strlen(b) + 2;
  char* out = malloc(size);
  if (out != NULL) snprintf(out, size, "%s/%s", a, b);
  return out;
}

/* --- reading ------------------------------------------------------------------------------------
 */

typedef struct file {
  int fd;
  uint64_t length;
} file;

static hyper_st file_read(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
                          uint64_t len) {
  const file* self = ctx;
  char* out = buf;
  hyper_st status = shelf_flags(op, flags);
  if (status != HYPER_OK) return status;
  if (offset > self->length || len > self->length - offset)
    return shelf_fail(op, HYPER_FAIL, "read beyond the end of the object", NULL, 0);
  while (len > 0) {
    ssize_t got;
    if (shelf_host->cancelled(op)) return HYPER_CANCELLED;
    got = pread(self->fd, out, (size_t)len, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return shelf_fail(op, HYPER_IO, "an object cannot be read", NULL, errno);
    if (got == 0) return shelf_fail(op, HYPER_CORRUPT, "the object became shorter", NULL, 0);
    out += got;
    offset += (uint64_t)got;
    len -= (uint64_t)got;
  }
  return HYPER_OK;
}

static void file_close(void* ctx, hyper_op* op) {
  file* self = ctx;
  (void)op;
  close(self->fd);
  free(self);
}

hyper_st shelf_open_file(hyper_op* op, const char* path, uint64_t length, hyper_source* out) {
  hyper_source table;
  file* self = malloc(sizeof *self);
  if (self == NULL) return shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
  self->length = length;
  self->fd = open(path, O_RDONLY | O_CLOEXEC);
  if (self->fd < 0) {
    const int error = errno;
    free(self);
    return shelf_fail(op, HYPER_IO, "cannot open", path, error);
  }
  memset(&table, 0, sizeof table);
  table.size = out->size < sizeof table ? out->size : (uint32_t)sizeof table;
  table.flags = HYPER_SOURCE_SEEK;
  table.ctx = self;
  table.length = length;
  table.block_min = 1;
  table.block_pref = 1u << 20;
  table.max_parallel = 8;
  table.read_at = file_read;
  table.close = file_close;
  memcpy(out, &table, table.size); /* as much as the host's struct holds */
  return HYPER_OK;
}

/* --- writing ------------------------------------------------------------------------------------
 */

typedef struct object {
  int fd;
  int overwrite;
  int durable;
  uint64_t entry; /* of the journal; 0 = none */
  char* part;     /* the file's name while it is written */
  char* target;   /* and afterwards */
} object;

static void object_free(object* self) {
  if (self == NULL) return;
  free(self->part);
  free(self->target);
  free(self);
}

static hyper_st object_write(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset,
                             const void* buf, uint64_t len) {
  const object* self = ctx;
  const char* from = buf;
  hyper_st status = shelf_flags(op, flags);
  if (status != HYPER_OK) return status;
  while (len > 0) {
    ssize_t wrote;
    if (shelf_host->cancelled(op)) return HYPER_CANCELLED;
    wrote = pwrite(self->fd, from, (size_t)len, (off_t)offset);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0)
      return shelf_fail(op, errno == ENOSPC ? HYPER_NOSPACE : HYPER_IO,
                        "an object cannot be written", NULL, errno);
    from += wrote;
    offset += (uint64_t)wrote;
    len -= (uint64_t)wrote;
  }
  return HYPER_OK;
}

static hyper_st object_zero(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset,
                            uint64_t len) {
  static const char zeros[65536];
  hyper_st status = shelf_flags(op, flags);
  while (status == HYPER_OK && len > 0) {
    const uint64_t now = len < sizeof zeros ? len : sizeof zeros;
    status = object_write(ctx, op, 0, offset, zeros, now);
    offset += now;
    len -= now;
  }
  return status;
}

static hyper_st object_sync(void* ctx, hyper_op* op, uint32_t flags) {
  const object* self = ctx;
  const hyper_st status = shelf_flags(op, flags);
  if (status != HYPER_OK) return status;
  if (fsync(self->fd) != 0)
    return shelf_fail(op, HYPER_IO, "an object cannot be made durable", NULL, errno);
  return HYPER_OK;
}

static hyper_st object_reopen(void* ctx, hyper_op* op, uint32_t flags, uint64_t length,
                              hyper_source* out) {
  const object* self = ctx;
  const hyper_st status = shelf_flags(op, flags);
  if (status != HYPER_OK) return status;
  if (ftruncate(self->fd, (off_t)length) != 0)
    return shelf_fail(op, HYPER_IO, "cannot set the length of", self->part, errno);
  return shelf_open_file(op, self->part, length, out);
}

/* Makes the names in the directory that `path` lies in durable; 0, or an errno. */
static int sync_parent(char* path) {
  char* slash = strrchr(path, '/');
  int fd, error = 0;
  *slash = '\0';
  fd = open(path[0] == '\0' ? "/" : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  *slash = '/';
  if (fd < 0 || fsync(fd) != 0) error = errno;
  if (fd >= 0) close(fd);
  return error;
}

/* Makes the directories that `path` lies in; 0, or an errno. */
static int make_parents(char* path, int durable) {
  char* slash;
  for (slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    int error;
    *slash = '\0';
    error = mkdir(path, 0777) == 0 ? (durable ? sync_parent(path) : 0) : errno;
    *slash = '/';
    if (error != 0 && error != EEXIST) return error;
  }
  return 0;
}

static hyper_st object_commit(void* ctx, hyper_op* op, uint32_t flags, uint64_t length,
                              hyper_emit emit, void* arg) {
  object* self = ctx;
  hyper_doc* answer;
  int done;
  hyper_st status = shelf_flags(op, flags);
  if (status != HYPER_OK) return status;
  if (shelf_host->cancelled(op)) return HYPER_CANCELLED;
  if (ftruncate(self->fd, (off_t)length) != 0 || (self->durable && fsync(self->fd) != 0))
    return shelf_fail(op, HYPER_IO, "cannot complete", self->part, errno);
  done = make_parents(self->target, self->durable);
  if (done != 0)
    return shelf_fail(op, HYPER_IO, "cannot make the directory of", self->target, done);
  /* link() fails where the name is taken, rename() replaces it: both at once or not at all. */
  done = self->overwrite ? rename(self->part, self->target) : link(self->part, self->target);
  if (done != 0)
    return shelf_fail(op, errno == EEXIST ? HYPER_EXISTS : HYPER_IO, "cannot give its name to",
                      self->target, errno);
  unlink(self->part);
  done = self->durable ? sync_parent(self->target) : 0;
  if (done != 0)
    return shelf_fail(op, HYPER_IO, "cannot make the name durable of", self->target, done);
  shelf_journal_close(op, self->entry);
  self->entry = 0;
  answer = shelf_host->doc_new();
  if (answer != NULL) {
    shelf_set_text(answer, "/location", self->target);
    shelf_set_number(answer, "/bytes", length);
  }
  return shelf_emit(op, answer, emit, arg);
}

static void object_close(void* ctx, hyper_op* op) {
  object* self = ctx;
  close(self->fd);
  unlink(self->part); /* without a commit: nothing stays behind */
  shelf_journal_close(op, self->entry);
  object_free(self);
}

char* shelf_part(const char* root, const char* name) {
  char* parts = shelf_join(root, SHELF_PARTS);
  char* out = parts == NULL ? NULL : shelf_join(parts, name);
  free(parts);
  return out;
}

/* A name that no other process makes: a process id is the same each time in a container. */
static int random_name(char name[33]) {
  unsigned char bytes[16];
  size_t i;
  if (getentropy(bytes, sizeof bytes) != 0) return errno;
  for (i = 0; i < sizeof bytes; ++i) snprintf(name + 2 * i, 3, "%02x", bytes[i]);
  return 0;
}

hyper_st shelf_new_object(hyper_op* op, const char* root, const char* target, int overwrite,
                          int durable, hyper_sink* out) {
  hyper_sink table;
  char name[33];
  int error = random_name(name);
  hyper_st status = HYPER_OK;
  object* self = calloc(1, sizeof *self);
  if (self != NULL) {
    self->fd = -1;
    self->overwrite = overwrite;
    self->durable = durable;
    self->part = shelf_part(root, name);
    self->target = malloc(strlen(target) + 1);
  }
  if (self == NULL || self->part == NULL || self->target == NULL) {
    object_free(self);
    return shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
  }
  strcpy(self->target, target);
  if (error == 0) error = make_parents(self->part, durable);
  if (error == 0) status = shelf_journal_open(op, root, name, &self->entry);
  if (error == 0 && status == HYPER_OK &&
      (self->fd = open(self->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0)
    error = errno;
  if (error != 0) status = shelf_fail(op, HYPER_IO, "cannot make a file below", root, error);
  if (status != HYPER_OK) {
    shelf_journal_close(op, self->entry);
    object_free(self);
    return status;
  }
  memset(&table, 0, sizeof table);
  table.size = out->size < sizeof table ? out->size : (uint32_t)sizeof table;
  table.flags = HYPER_SINK_RANDOM | HYPER_SINK_APPEND | HYPER_SINK_READBACK;
  table.ctx = self;
  table.block_min = 1;
  table.max_parallel = 8;
  table.write_at = object_write;
  table.zero_at = object_zero;
  table.sync = object_sync;
  table.reopen = object_reopen;
  table.commit = object_commit;
  table.close = object_close;
  memcpy(out, &table, table.size);
  return HYPER_OK;
}
