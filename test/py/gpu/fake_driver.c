// SPDX-License-Identifier: Apache-2.0
//
// In place of libcuda.so.1: every function succeeds, and those of launches
// write down what they are given. The bindings find functions by
// cuGetProcAddress.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int Status;
typedef void *Handle;

// CUDA_KERNEL_NODE_PARAMS_v2.
typedef struct {
  Handle function;
  unsigned grid[3], block[3], shared;
  void **arguments;
  void **extra;
  Handle kernel, context;
} Node;

static uint64_t argument(void **arguments, int number) {
  return *(uint64_t *)arguments[number];
}

static void show(const char *what, Handle function, const unsigned *grid,
                 const unsigned *block, unsigned shared, void **arguments) {
  printf("%s %p grid %u %u %u block %u %u %u shared %u arguments %#lx %#lx",
         what, function, grid[0], grid[1], grid[2], block[0], block[1],
         block[2], shared, (unsigned long)argument(arguments, 0),
         (unsigned long)argument(arguments, 1));
}

static Status succeed(void) { return 0; }

static Status cuDriverGetVersion(int *version) {
  *version = 13000;
  return 0;
}
static Status cuDeviceGetCount(int *count) {
  *count = 1;
  return 0;
}
static Status cuDeviceGet(int *device, int number) {
  *device = number;
  return 0;
}
static Status cuDeviceGetName(char *name, int size, int device) {
  snprintf(name, size, "GPU %d", device);
  return 0;
}
static Status cuDeviceGetAttribute(int *value, int kind, int device) {
  (void)device;
  // Cooperative launches, shared memory of a block, processors, capability.
  *value = kind == 95 ? 1 : kind == 97 ? 232448 : kind == 16 ? 132 : 8;
  return 0;
}
static Status cuDevicePrimaryCtxRetain(Handle *context, int device) {
  (void)device;
  *context = (Handle)0xc0;
  return 0;
}
static Status cuFuncSetAttribute(Handle function, int kind, int value) {
  printf("attribute %d of %p is %d\n", kind, function, value);
  return 0;
}
static Status cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks,
                                                          Handle function,
                                                          int threads,
                                                          size_t shared) {
  printf("occupancy %p %d %zu\n", function, threads, shared);
  *blocks = 1;
  return 0;
}
static Status cuLaunchCooperativeKernel(Handle function, unsigned x, unsigned y,
                                        unsigned z, unsigned threads,
                                        unsigned by, unsigned bz,
                                        unsigned shared, Handle stream,
                                        void **arguments) {
  unsigned grid[] = {x, y, z}, block[] = {threads, by, bz};
  show("launch", function, grid, block, shared, arguments);
  printf(" stream %p\n", stream);
  return 0;
}
static Status cuGraphCreate(Handle *graph, unsigned flags) {
  printf("create %u\n", flags);
  *graph = (Handle)0x61;
  return 0;
}
static Status cuGraphAddKernelNode(Handle *node, Handle graph,
                                   const Handle *before, size_t count,
                                   const Node *parameters) {
  static uintptr_t number = 0x100;
  printf("graph %p behind", graph);
  for (size_t i = 0; i < count; ++i)
    printf(" %p", before[i]);
  show(" node", parameters->function, parameters->grid, parameters->block,
       parameters->shared, parameters->arguments);
  printf(" extra %d\n", parameters->extra != NULL);
  *node = (Handle)number++;
  return 0;
}
// (What cuGraphInstantiate of the headers and of the bindings is.)
static Status cuGraphInstantiateWithFlags(Handle *ready, Handle graph,
                                          unsigned long long flags) {
  printf("instantiate %p %llu\n", graph, flags);
  *ready = (Handle)0x62;
  return 0;
}
static Status cuGraphLaunch(Handle graph, Handle stream) {
  printf("start %p stream %p\n", graph, stream);
  return 0;
}
static Status cuGraphDestroy(Handle graph) {
  printf("destroy %p\n", graph);
  return 0;
}
static Status cuGraphExecDestroy(Handle graph) {
  printf("destroy ready %p\n", graph);
  return 0;
}

Status cuGetProcAddress_v2(const char *name, void **function, int version,
                           uint64_t flags, int *status);

static const struct {
  const char *name;
  void *function;
} kFunctions[] = {
#define FUNCTION(name) {#name, (void *)name}
    FUNCTION(cuDriverGetVersion),
    FUNCTION(cuDeviceGetCount),
    FUNCTION(cuDeviceGet),
    FUNCTION(cuDeviceGetName),
    FUNCTION(cuDeviceGetAttribute),
    FUNCTION(cuDevicePrimaryCtxRetain),
    FUNCTION(cuFuncSetAttribute),
    FUNCTION(cuOccupancyMaxActiveBlocksPerMultiprocessor),
    FUNCTION(cuLaunchCooperativeKernel),
    FUNCTION(cuGraphCreate),
    FUNCTION(cuGraphAddKernelNode),
    FUNCTION(cuGraphInstantiateWithFlags),
    FUNCTION(cuGraphLaunch),
    FUNCTION(cuGraphDestroy),
    FUNCTION(cuGraphExecDestroy),
    {"cuGetProcAddress", (void *)cuGetProcAddress_v2},
};

Status cuGetProcAddress_v2(const char *name, void **function, int version,
                           uint64_t flags, int *status) {
  (void)version;
  (void)flags;
  *function = (void *)succeed;
  for (size_t i = 0; i < sizeof(kFunctions) / sizeof(*kFunctions); ++i)
    if (!strcmp(name, kFunctions[i].name))
      *function = kFunctions[i].function;
  if (status)
    *status = 0;
  return 0;
}
