/* SPDX-License-Identifier: Apache-2.0
 * The storage "shelf" in C99: keys are files below a directory. Its descriptor is at the end. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "shelf.h"

extern const char hyper_manifest_json[], hyper_manifest_id[], hyper_manifest_version[];

const hyper_host* shelf_host;

typedef struct shelf {
  char* root;
} shelf;

static const char kPath[] = "/path";

static hyper_st connect_shelf(hyper_op* op, uint32_t flags, const hyper_doc* options,
                              void** connection) {
  const char* root = shelf_text(options, kPath);
  shelf* self;
  const hyper_st status = shelf_flags(op, flags);
  if (status != HYPER_OK) return status;
  self = malloc(sizeof *self);
  /* The host has checked the options against the schema: there is a path. */
  if (self != NULL && (self->root = malloc(strlen(root) + 1)) == NULL) {
    free(self);
    self = NULL;
  }
  if (self == NULL) return shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
  strcpy(self->root, root);
  *connection = self;
  return HYPER_OK;
}

static void disconnect_shelf(void* connection, hyper_op* op) {
  shelf* self = connection;
  (void)op;
  free(self->root);
  free(self);
}

static int is_name(const char* part, size_t length, const char* name) {
  return strlen(name) == length && strncmp(part, name, length) == 0;
}

/* The path of a key as new memory. Keys come from outside: none leads out of the directory. */
static hyper_st path_of(hyper_op* op, const shelf* self, const char* key, char** path) {
  const char* part = key;
  for (;;) {
    const size_t length = strcspn(part, "/");
    if (length == 0 || is_name(part, length, ".") || is_name(part, length, "..") ||
        (part == key && is_name(part, length, SHELF_PARTS)))
      return shelf_fail(op, HYPER_CONFIG, "a key with empty or reserved parts:", key, 0);
    if (part[length] == '\0') break;
    part += length + 1;
  }
  *path = shelf_join(self->root, key);
  return *path != NULL ? HYPER_OK : shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
}

/* The root, or the nearest directory above it that is there, can be written to. */
static hyper_st writable(hyper_op* op, const char* root) {
  char* place = malloc(strlen(root) + 2);
  hyper_st status = HYPER_OK;
  struct stat found;
  if (place == NULL) return shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
  strcpy(place, root);
  while (stat(place, &found) != 0 && errno == ENOENT && strrchr(place, '/') > place)
    *strrchr(place, '/') = '\0';
  if (stat(place, &found) == 0 && !S_ISDIR(found.st_mode))
    status = shelf_fail(op, HYPER_CONFIG, "cannot write to", place, ENOTDIR);
  else if (access(place, W_OK | X_OK) != 0)
    status = shelf_fail(op, HYPER_CONFIG, "cannot write to", place, errno);
  free(place);
  return status;
}

static hyper_st info(void* connection, hyper_op* op, uint32_t flags, hyper_emit emit, void* arg) {
  const shelf* self = connection;
  struct statvfs space;
  hyper_doc* answer;
  hyper_st status = shelf_flags(op, flags);
  if (status == HYPER_OK) status = writable(op, self->root);
  if (status != HYPER_OK) return status;
  answer = shelf_host->doc_new();
  if (answer != NULL) {
    shelf_set_text(answer, "/location", self->root);
    shelf_set_text(answer, "/sink/-", "random");
    shelf_set_text(answer, "/sink/-", "append");
    shelf_set_text(answer, "/sink/-", "readback");
    if (statvfs(self->root, &space) == 0)
      shelf_set_number(answer, "/free_bytes", (uint64_t)space.f_bavail * space.f_frsize);
  }
  return shelf_emit(op, answer, emit, arg);
}

static hyper_st put(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                    hyper_sink* out) {
  /* What a request may rely on: members that are read below, or that ask for nothing here. */
  static const char* const known[] = {"/key",       "/length",     "/expected_bytes",
                                      "/overwrite", "/durability", "/content_type",
                                      "/metadata",  "/adopt",      NULL};
  const shelf* self = connection;
  const char* key = shelf_text(request, "/key");
  const char* durability = shelf_text(request, "/durability");
  const int overwrite = shelf_true(request, "/overwrite");
  struct stat found;
  char* path = NULL;
  hyper_st status = shelf_flags(op, flags);
  if (status == HYPER_OK) status = shelf_understood(op, request, known);
  if (status != HYPER_OK) return status;
  if (key == NULL) return shelf_fail(op, HYPER_CONFIG, "the request has no key", NULL, 0);
  status = path_of(op, self, key, &path);
  if (status == HYPER_OK && !overwrite && lstat(path, &found) == 0)
    status = shelf_fail(op, HYPER_EXISTS, "there is an object", key, 0);
  if (status == HYPER_OK)
    status = shelf_new_object(op, self->root, path, overwrite,
                              durability != NULL && strcmp(durability, "file") == 0, out);
  free(path);
  return status;
}

static int is_file(const char* path, struct stat* found) {
  return lstat(path, found) == 0 && S_ISREG(found->st_mode);
}

static hyper_st get(void* connection, hyper_op* op, uint32_t flags, const char* key,
                    hyper_source* out) {
  struct stat found;
  char* path = NULL;
  hyper_st status = shelf_flags(op, flags);
  if (status == HYPER_OK) status = path_of(op, connection, key, &path);
  if (status == HYPER_OK && !is_file(path, &found))
    status = shelf_fail(op, HYPER_NOTFOUND, "there is no object", key, 0);
  if (status == HYPER_OK) status = shelf_open_file(op, path, (uint64_t)found.st_size, out);
  free(path);
  return status;
}

static hyper_st emit_object(hyper_op* op, const char* key, const char* path, uint64_t bytes,
                            hyper_emit emit, void* arg) {
  hyper_doc* answer = shelf_host->doc_new();
  if (answer != NULL) {
    shelf_set_text(answer, "/key", key);
    shelf_set_number(answer, "/bytes", bytes);
    shelf_set_text(answer, "/location", path);
  }
  return shelf_emit(op, answer, emit, arg);
}

static hyper_st stat_object(void* connection, hyper_op* op, uint32_t flags, const char* key,
                            hyper_emit emit, void* arg) {
  struct stat found;
  char* path = NULL;
  hyper_st status = shelf_flags(op, flags);
  if (status == HYPER_OK) status = path_of(op, connection, key, &path);
  if (status == HYPER_OK)
    status = is_file(path, &found) ? emit_object(op, key, path, (uint64_t)found.st_size, emit, arg)
                                   : HYPER_NOTFOUND; /* not reported */
  free(path);
  return status;
}

/* Below `directory`, whose key is `key` ("" at the root). */
static hyper_st list_below(hyper_op* op, const char* directory, const char* key, const char* prefix,
                           int depth, hyper_emit emit, void* arg) {
  hyper_st status = HYPER_OK;
  struct dirent* entry;
  DIR* open = opendir(directory);
  if (open == NULL)
    return errno == ENOENT ? HYPER_OK : shelf_fail(op, HYPER_IO, "cannot list", directory, errno);
  while (status == HYPER_OK && (entry = readdir(open)) != NULL) {
    struct stat found;
    char *path, *name;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (key[0] == '\0' && strcmp(entry->d_name, SHELF_PARTS) == 0) continue;
    if (shelf_host->cancelled(op)) {
      status = HYPER_CANCELLED;
      break;
    }
    path = shelf_join(directory, entry->d_name);
    name = shelf_join(key, entry->d_name);
    if (path == NULL || name == NULL)
      status = shelf_fail(op, HYPER_FAIL, "out of memory", NULL, 0);
    else if (lstat(path, &found) == 0 && S_ISDIR(found.st_mode) && depth < 64)
      status = list_below(op, path, name, prefix, depth + 1, emit, arg);
    else if (is_file(path, &found) && strncmp(name + 1, prefix, strlen(prefix)) == 0)
      status = emit_object(op, name + 1, path, (uint64_t)found.st_size, emit, arg);
    free(path);
    free(name);
  }
  closedir(open);
  return status;
}

static hyper_st list(void* connection, hyper_op* op, uint32_t flags, const char* prefix,
                     hyper_emit emit, void* arg) {
  const shelf* self = connection;
  const hyper_st status = shelf_flags(op, flags);
  if (status != HYPER_OK) return status;
  return list_below(op, self->root, "", prefix, 0, emit, arg);
}

static hyper_st remove_object(void* connection, hyper_op* op, uint32_t flags, const char* key) {
  char* path = NULL;
  hyper_st status = shelf_flags(op, flags);
  if (status == HYPER_OK) status = path_of(op, connection, key, &path);
  if (status == HYPER_OK && unlink(path) != 0)
    status =
        shelf_fail(op, errno == ENOENT ? HYPER_NOTFOUND : HYPER_IO, "cannot remove", key, errno);
  free(path);
  return status;
}

static hyper_st undo(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* entry) {
  const shelf* self = connection;
  const hyper_st status = shelf_flags(op, flags);
  return status == HYPER_OK ? shelf_undo(op, self->root, entry) : status;
}

static const hyper_storage storage = {
    sizeof storage, 0,    connect_shelf, disconnect_shelf, info, put, get, stat_object, list,
    remove_object,  undo, NULL};

static hyper_st start(const hyper_host* host, hyper_op* op) {
  (void)op;
  shelf_host = host;
  return HYPER_OK;
}

static void stop(void) {}

static const void* get_interface(const char* iface) {
  return strcmp(iface, HYPER_IFACE_STORAGE) == 0 ? &storage : NULL;
}

static const hyper_plugin plugin = {sizeof plugin,
                                    HYPER_ABI_MINOR,
                                    0,
                                    HYPER_THREADS_PARALLEL,
                                    0,
                                    hyper_manifest_id,
                                    hyper_manifest_version,
                                    hyper_manifest_json,
                                    start,
                                    stop,
                                    NULL,
                                    get_interface};

const hyper_plugin* hyper_plugin_entry_v1(const hyper_hello* hello) {
  (void)hello; /* works with any host of ABI 1 */
  return &plugin;
}
