/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes one call fail. To be preloaded; `lumen_inject` arms it: the n-th call
 * (from 1) of the named kind in this process then fails with an error, or a
 * write takes only a part where the error is 0. `lumen_injected` disarms it,
 * and says whether a call failed; `lumen_calls` how many of a kind came since.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static const char *const kinds[] = {
    "write",     "read",      "open",   "mmap",   "malloc",
    "fallocate", "ftruncate", "rename", "unlink", "mkdir"};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static atomic_long calls[KINDS];
static atomic_int armed, failed;
static long chosen;
static int chosenKind, failure;

static int kindOf(const char *name) {
  for (unsigned kind = 0; kind < KINDS; ++kind)
    if (!strcmp(kinds[kind], name))
      return kind;
  return -1;
}

void lumen_inject(const char *name, long n, int error) {
  for (unsigned kind = 0; kind < KINDS; ++kind)
    atomic_store(&calls[kind], 0);
  chosenKind = kindOf(name);
  chosen = n;
  failure = error;
  atomic_store(&failed, 0);
  atomic_store(&armed, 1);
}

int lumen_injected(void) {
  atomic_store(&armed, 0);
  return atomic_load(&failed);
}

long lumen_calls(const char *name) { return atomic_load(&calls[kindOf(name)]); }

static int fails(const char *name) {
  if (!atomic_load(&armed))
    return 0;
  int kind = kindOf(name);
  long number = atomic_fetch_add(&calls[kind], 1) + 1;
  if (kind != chosenKind || number != chosen)
    return 0;
  atomic_store(&failed, 1);
  errno = failure;
  return 1;
}

#define NEXT(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

/* Where the error is 0 a write is short, which callers have to go on from. */
#define WRITE(function, parameters, size, ...)                                 \
  ssize_t function parameters {                                                \
    if (fails("write")) {                                                      \
      if (failure || size < 2)                                                 \
        return -1;                                                             \
      size /= 2;                                                               \
    }                                                                          \
    return NEXT(function)(__VA_ARGS__);                                        \
  }

WRITE(write, (int file, const void *data, size_t size), size, file, data, size)
WRITE(pwrite, (int file, const void *data, size_t size, off_t at), size, file,
      data, size, at)
WRITE(pwrite64, (int file, const void *data, size_t size, off_t at), size, file,
      data, size, at)

#define FAIL(type, function, name, bad, parameters, ...)                       \
  type function parameters {                                                   \
    if (fails(name))                                                           \
      return bad;                                                              \
    return NEXT(function)(__VA_ARGS__);                                        \
  }

FAIL(ssize_t, read, "read", -1, (int file, void *data, size_t size), file, data,
     size)
FAIL(ssize_t, pread, "read", -1, (int file, void *data, size_t size, off_t at),
     file, data, size, at)
FAIL(ssize_t, pread64, "read", -1,
     (int file, void *data, size_t size, off_t at), file, data, size, at)
FAIL(int, ftruncate, "ftruncate", -1, (int file, off_t size), file, size)
FAIL(int, ftruncate64, "ftruncate", -1, (int file, off_t size), file, size)
FAIL(int, rename, "rename", -1, (const char *old, const char *new), old, new)
FAIL(int, unlink, "unlink", -1, (const char *path), path)
FAIL(int, mkdir, "mkdir", -1, (const char *path, mode_t mode), path, mode)
/* The interpreter's own pieces have 1 MB, and it does not survive that a thread
 * gets none as it begins. */
#define MAP(function)                                                          \
  void *function(void *place, size_t size, int may, int flags, int file,       \
                 off_t at) {                                                   \
    if ((file >= 0 || size > 1 << 20) && fails("mmap"))                        \
      return MAP_FAILED;                                                       \
    return NEXT(function)(place, size, may, flags, file, at);                  \
  }
MAP(mmap)
MAP(mmap64)

/* This one returns its error. */
int posix_fallocate(int file, off_t at, off_t size) {
  return fails("fallocate") ? failure : NEXT(posix_fallocate)(file, at, size);
}
int posix_fallocate64(int file, off64_t at, off64_t size) {
  return fails("fallocate") ? failure : NEXT(posix_fallocate64)(file, at, size);
}

#define OPEN(function)                                                         \
  int function(const char *path, int flags, ...) {                             \
    va_list rest;                                                              \
    va_start(rest, flags);                                                     \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;    \
    va_end(rest);                                                              \
    return fails("open") ? -1 : NEXT(function)(path, flags, mode);             \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(function)                                                       \
  int function(int folder, const char *path, int flags, ...) {                 \
    va_list rest;                                                              \
    va_start(rest, flags);                                                     \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;    \
    va_end(rest);                                                              \
    return fails("open") ? -1 : NEXT(function)(folder, path, flags, mode);     \
  }
OPENAT(openat)
OPENAT(openat64)

/* Small pieces are not asked for: no program in this process survives that. */
static const size_t large = 1 << 18;
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
void *malloc(size_t size) {
  return size >= large && fails("malloc") ? NULL : __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  return size && count >= large / size && fails("malloc")
             ? NULL
             : __libc_calloc(count, size);
}
void *realloc(void *old, size_t size) {
  return size >= large && fails("malloc") ? NULL : __libc_realloc(old, size);
}
