/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin of qemu-user that counts how often a guest's code runs:
 *
 *   qemu-aarch64 -plugin ./count.so,out=FILE PROGRAM
 *   qemu-aarch64 -plugin ./count.so,out=FILE,trace=TRACE PROGRAM
 *
 * Programs that run at the same time have files of their own: "." and the
 * number of the process follow the names. For each piece of code that the guest
 * entered, FILE has a line with its address, its number of instructions and how
 * often it ran. Pieces may overlap. TRACE has the numbers of these lines (32
 * bits each, counted from 0) in the order in which the pieces ran. Both are
 * exact for programs of one thread.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is used of qemu's interface for plugins. Debian has no header for it. */
typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
                                           void (*)(qemu_plugin_id_t,
                                                    struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *,
                                          void (*)(unsigned, void *),
                                          enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t,
                                    void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION 1
#endif
__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

struct piece {
  uint64_t address, instructions, runs;
  uint32_t number;
  struct piece *next;
};

static struct piece *pieces, **last = &pieces;
static uint32_t count;
static char *path;
static FILE *trace;

/* The name with the number of the process behind it. */
static char *own_name(const char *name) {
  char *result = NULL;
  if (asprintf(&result, "%s.%ld", name, (long)getpid()) < 0)
    abort();
  return result;
}

static void fail(const char *name) {
  perror(name);
  _Exit(1);
}

static void run(unsigned cpu, void *data) {
  (void)cpu;
  struct piece *piece = data;
  ++piece->runs;
  if (trace && fwrite(&piece->number, sizeof piece->number, 1, trace) != 1)
    fail("trace");
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  (void)id;
  struct piece *piece = malloc(sizeof *piece);
  if (!piece)
    fail("malloc");
  *piece = (struct piece){qemu_plugin_tb_vaddr(block),
                          qemu_plugin_tb_n_insns(block), 0, count++, NULL};
  *last = piece;
  last = &piece->next;
  qemu_plugin_register_vcpu_tb_exec_cb(block, run, QEMU_PLUGIN_CB_NO_REGS,
                                       piece);
}

static void write_counts(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  FILE *file = fopen(path, "w");
  if (!file)
    fail(path);
  for (struct piece *piece = pieces; piece; piece = piece->next)
    fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", piece->address,
            piece->instructions, piece->runs);
  if (fclose(file) || (trace && fclose(trace)))
    fail(path);
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int number,
                    char **arguments) {
  (void)info;
  for (int i = 0; i < number; ++i) {
    if (!strncmp(arguments[i], "out=", 4))
      path = own_name(arguments[i] + 4);
    else if (!strncmp(arguments[i], "trace=", 6) &&
             !(trace = fopen(own_name(arguments[i] + 6), "wb")))
      fail(arguments[i] + 6);
  }
  if (!path) {
    fputs("count.so needs out=FILE\n", stderr);
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
  qemu_plugin_register_atexit_cb(id, write_counts, NULL);
  return 0;
}
